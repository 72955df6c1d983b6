"""Data and tokenizers of which another process is asked, which imports this file: it loads little."""

import os
import random
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import normalizers

from lightning_tx.data.base import Data, Splits
from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character


class Numbers(Data[str]):
    """Sound: numbers, in three splits."""

    def load(self, cache: Path) -> Splits[str]:
        return self.split([str(number) for number in range(100)])

    def split(self, texts: list[str]) -> Splits[str]:
        return Splits(texts[20:], texts[:10], texts[10:20])


class SplitsByChance(Numbers):
    def split(self, texts: list[str]) -> Splits[str]:
        return super().split(random.sample(texts, len(texts)))


class SplitsASet(Numbers):
    def split(self, texts: list[str]) -> Splits[str]:
        return super().split(list(set(texts)))


class FailsElsewhere(Numbers):
    def split(self, texts: list[str]) -> Splits[str]:
        if "PYTHONHASHSEED" in os.environ:
            raise OSError("no such device")
        return super().split(texts)


class Lowers(Byte):
    """Sound: it says that text does not come back as it was."""

    lossless = False

    def build(self, texts: Iterable[str]) -> Backend:
        backend = super().build(texts)
        backend.normalizer = normalizers.Lowercase()
        return backend


class OrdersByChance(Character):
    def vocabulary(self, tokens: Iterable[str]) -> dict[str, int]:
        tokens = list(tokens)
        random.shuffle(tokens)
        return super().vocabulary(tokens)


class TakesASetAsItLies(Character):
    def build(self, texts: Iterable[str]) -> Backend:
        texts = list(texts)
        self.seen = list(set().union(*texts))
        return super().build(texts)

    def vocabulary(self, tokens: Iterable[str]) -> dict[str, int]:
        return super().vocabulary(self.seen)
