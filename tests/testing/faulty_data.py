"""Data sets and tokenizers with one fault each."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tokenizers import AddedToken, decoders, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from lightning_tx.data.base import Splits
from lightning_tx.data.text_file import TextFile
from lightning_tx.tokenizer.base import Tokenizer, TokenizerTrainer
from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character
from tests.testing.imported_elsewhere import (
    FailsElsewhere,
    Lowers,
    Numbers,
    OrdersByChance,
    SplitsASet,
    SplitsByChance,
    TakesASetAsItLies,
)
from tests.testing.planted import Fault


class SortsWhatItCaches(Numbers):
    def load(self, cache: Path) -> Splits[str]:
        kept = cache / "numbers.json"
        if kept.exists():
            return self.split(json.loads(kept.read_text()))
        texts = [str(number) for number in range(100)]
        kept.write_text(json.dumps(sorted(texts)))
        return self.split(texts)


class TestsOnItsTraining(Numbers):
    __test__ = False

    def split(self, texts: list[str]) -> Splits[str]:
        return Splits(texts, texts[:10], [])


class SplitsWhatIsRepeated(Numbers):
    def split(self, texts: list[str]) -> Splits[str]:
        return Splits(texts[20:], texts[:12], texts[10:20])


class HasNothingToValidateOn(Numbers):
    def split(self, texts: list[str]) -> Splits[str]:
        return Splits(texts, [], [])


class GivesDicts(Numbers):
    def split(self, texts: list[str]) -> Splits[str]:
        return Splits(texts[20:], cast(list[str], [{"text": text} for text in texts[:10]]), [])


class SaysItHasPairs(Numbers):
    texts_per_example = 2


class Unsendable(list):
    def __reduce__(self):
        raise TypeError("cannot be pickled")


class HoldsWhatCannotBeSent(Numbers):
    def split(self, texts: list[str]) -> Splits[str]:
        return Splits(texts[20:], Unsendable(texts[:10]), [])


@dataclass(frozen=True)
class Counted(Splits[str]):
    @property
    def digest(self) -> str:  # type: ignore[override]
        return f"{len(self.train)} {len(self.validation)}"


class CountsForADigest(Numbers):
    def split(self, texts: list[str]) -> Splits[str]:
        return Counted(texts[20:], texts[:20], [])


class KeepsAnOldFile(TextFile):
    def load(self, cache: Path) -> Splits[str]:
        kept = cache / f"{self.path.name}.txt"
        cache.mkdir(exist_ok=True)
        if not kept.exists():
            kept.write_text(self.path.read_text())
        self.path = kept
        return super().load(cache)


class JoinsSpaces(Character):
    def build(self, texts: Iterable[str]) -> Backend:
        backend = super().build(texts)
        backend.normalizer = normalizers.Replace("  ", " ")
        return backend


class ComposesAccents(Byte):
    def build(self, texts: Iterable[str]) -> Backend:
        backend = super().build(texts)
        backend.normalizer = normalizers.NFC()
        return backend


class AddsASpaceEachTime(Byte):
    lossless = False

    def build(self, texts: Iterable[str]) -> Backend:
        backend = super().build(texts)
        backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("a", "aa")])
        return backend


class PutsSpecialTokensLast(Byte):
    def vocabulary(self, tokens: Iterable[str]) -> dict[str, int]:
        return {token: number for number, token in enumerate([*tokens, *self.special_tokens])}


class LeavesOutATokenOfItsSize(Byte):
    def train(self, texts: Iterable[str]) -> Tokenizer:
        tokenizer = super().train(texts)
        tokenizer.vocab_size -= 1
        return tokenizer


class WritesSpecialTokens(Byte):
    def train(self, texts: Iterable[str]) -> Tokenizer:
        backend = self.build(texts)
        backend.add_tokens([AddedToken(token, special=False) for token in self.special_tokens])
        return Tokenizer(backend.to_str())


class ReadsSpecialTokens(Character):
    def train(self, texts: Iterable[str]) -> Tokenizer:
        tokenizer = super().train(texts)
        tokenizer._backend.encode_special_tokens = False
        return tokenizer


class SetsSomethingLater(Byte):
    def train(self, texts: Iterable[str]) -> Tokenizer:
        tokenizer = super().train(texts)
        backend: Any = tokenizer._backend
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
        return tokenizer


class LosesSpaces(TokenizerTrainer):
    """A tokenizer of words that forgets what stood between them."""

    def train(self, texts: Iterable[str]) -> "LosesSpaces":
        self.words = sorted({word for text in texts for word in text.split()})
        self.vocab_size = len(self.words) + 4
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = range(4)
        return self

    def encode(self, text: str) -> list[int]:
        return [self.words.index(word) + 4 for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.words[each - 4] for each in ids)


FAULTS = [
    Fault("texts_come_back", "tokenizer", LosesSpaces),
    Fault("splits_stay", "data", SplitsByChance, says="the split train is another when another process"),
    Fault("splits_stay", "data", SplitsASet, says="another process"),
    Fault("splits_stay", "data", FailsElsewhere, says="OSError: no such device"),
    Fault("a_cache_changes_nothing", "data", SortsWhatItCaches, says="the split train"),
    Fault(
        "splits_do_not_overlap", "data", TestsOnItsTraining, says="10 documents are in the splits train and validation"
    ),
    Fault("splits_do_not_overlap", "data", SplitsWhatIsRepeated, says="2 documents are in the splits validation and"),
    Fault("splits_do_not_overlap", "data", HasNothingToValidateOn, says="0 to validate on"),
    Fault("documents_are_texts", "data", GivesDicts, says="document 0 of the split validation is dict"),
    Fault("documents_are_texts", "data", SaysItHasPairs, says="texts_per_example is 2"),
    Fault("splits_can_be_sent", "data", HoldsWhatCannotBeSent, says="cannot be pickled"),
    Fault("the_digest_is_the_contents", "data", CountsForADigest, says="with a changed document to train on"),
    Fault("the_digest_is_the_contents", "data", KeepsAnOldFile, says="after a file was changed, the same"),
    Fault("texts_come_back", "tokenizer", JoinsSpaces, says="'a  b   c' comes back as"),
    Fault("texts_come_back", "tokenizer", ComposesAccents, says="comes back as"),
    Fault("texts_come_back", "tokenizer", AddsASpaceEachTime, says="comes back as"),
    Fault("ids_are_in_the_vocabulary", "tokenizer", PutsSpecialTokensLast, says="expected 0 to 3"),
    Fault("ids_are_in_the_vocabulary", "tokenizer", LeavesOutATokenOfItsSize, says="outside of 0 to 258"),
    Fault("special_tokens_are_not_text", "tokenizer", ReadsSpecialTokens, says="becomes the special token"),
    Fault("ids_are_in_the_vocabulary", "tokenizer", WritesSpecialTokens, says="not left out"),
    Fault("a_tokenizer_is_its_file", "tokenizer", SetsSomethingLater, says="saved and loaded"),
    Fault("training_a_tokenizer_is_repeatable", "tokenizer", OrdersByChance, says="trained twice"),
    Fault("training_a_tokenizer_is_repeatable", "tokenizer", TakesASetAsItLies, says="by another process"),
]
HONEST = [("data", Numbers), ("tokenizer", Lowers)]
