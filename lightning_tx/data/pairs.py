"""Pairs of texts in tokens, and the rows of a batch of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lightning_tx.data.base import Splits
from lightning_tx.data.batch import IGNORE, PairBatch
from lightning_tx.data.corpus import SPLIT_NAMES, Corpus, EncodedSplit, SplitName, prepare
from lightning_tx.data.rows import padded_window
from lightning_tx.tokenizer.base import Tokenizer
from lightning_tx.tokenizer.sides import Tokenizers


@dataclass(frozen=True)
class PairSplit:
    """One split of pairs, encoded.

    Attributes:
        source: what is read.
        target: what is written.
    """

    source: EncodedSplit
    target: EncodedSplit

    @property
    def num_pairs(self) -> int:
        """Pairs in the split."""
        return self.source.num_documents


@dataclass(frozen=True)
class PairCorpus:
    """A data set of pairs, encoded, with its texts.

    Attributes:
        source: the sources of all splits.
        target: the targets of all splits.
        texts: the pairs as text, for metrics that compare text.
        tokenizer: of the targets.
    """

    source: Corpus
    target: Corpus
    texts: Splits[tuple[str, str]]
    tokenizer: Tokenizer

    def split(self, name: SplitName) -> PairSplit:
        """A split by its name."""
        return PairSplit(self.source.split(name), self.target.split(name))

    def pairs(self, name: SplitName) -> Sequence[tuple[str, str]]:
        """The texts of a split."""
        return getattr(self.texts, name)


def prepare_pairs(splits: Splits[tuple[str, str]], tokenizers: Tokenizers, cache: Path) -> PairCorpus:
    """Encode both sides of every pair, or open what was encoded before; see :func:`prepare`."""
    source = prepare(side(splits, 0), tokenizers.source, cache)
    return PairCorpus(source, prepare(side(splits, 1), tokenizers.target, cache), splits, tokenizers.target)


def side(splits: Splits[tuple[str, str]], which: int) -> Splits[str]:
    """The sources (0) or the targets (1) of all pairs."""
    train, validation, test = ([pair[which] for pair in getattr(splits, name)] for name in SPLIT_NAMES)
    return Splits(train, validation, test)


class PairRows:
    """Puts encoded pairs together to padded batches. No Python loop runs over rows or tokens.

    A source is its tokens and ``<eos>``; a target is ``<bos>`` and its tokens to read, its tokens and ``<eos>`` to
    write.

    Args:
        split: the pairs.
        max_seq_len: longer rows are cut, on either side, ``<eos>`` kept.

    Attributes:
        source_lengths: tokens of each source, ``<eos>`` counted, before cutting; int64.
        target_lengths: tokens of each target, ``<eos>`` counted, before cutting; int64.
    """

    def __init__(self, split: PairSplit, max_seq_len: int) -> None:
        self._split = split
        self._limit = max_seq_len
        # Plain views of the mapped files: indexing a np.memmap itself costs more.
        self._tokens = [np.asarray(split.source.tokens), np.asarray(split.target.tokens)]
        self._starts = [split.source.starts, split.target.starts]
        self.source_lengths, self.target_lengths = (
            np.diff(starts, append=len(tokens)) - 1 for tokens, starts in zip(self._tokens, self._starts, strict=True)
        )

    def __call__(self, examples: np.ndarray) -> PairBatch:
        """The batch of these pairs, int64 [B]."""
        source, source_real = self._window(0, examples, self.source_lengths[examples], self._split.source.pad_id)
        target, target_real = self._window(1, examples, self.target_lengths[examples], self._split.target.pad_id)
        # Each document of the stream opens with <bos>, which the decoder reads where the target's first token is due.
        bos = self._tokens[1][self._starts[1][examples[:1]]].astype(np.int64)
        tokens = np.concatenate([np.broadcast_to(bos, (len(examples), 1)), target[:, :-1]], axis=1)
        targets = np.where(target_real, target, IGNORE)
        return PairBatch(
            torch.from_numpy(source),
            torch.from_numpy(tokens),
            torch.from_numpy(targets),
            torch.from_numpy(examples.astype(np.int64)),
            None if source_real.all() else torch.from_numpy(source_real),
        )

    def _window(
        self, which: int, examples: np.ndarray, lengths: np.ndarray, pad_id: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Token ids [B, longest] after ``<bos>``, and where they are real."""
        return padded_window(self._tokens[which], self._starts[which][examples] + 1, lengths, self._limit, pad_id)


def too_long(split: PairSplit, max_seq_len: int) -> np.ndarray:
    """Which pairs have a side of more than ``max_seq_len`` tokens, ``<eos>`` counted; bool [N]."""
    rows = PairRows(split, max_seq_len)
    return np.maximum(rows.source_lengths, rows.target_lengths) > max_seq_len
