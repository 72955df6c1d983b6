"""Batches of pairs that are about equally long, so that little of a batch is padding."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import get_worker_info

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.batch import BatchSize, PairBatch
from lightning_tx.data.epochs import Epochs
from lightning_tx.data.pairs import PairRows, PairSplit


class BucketedBatches(Epochs[PairBatch]):
    """Batches of pairs, sorted by length and cut where a batch is full.

    For training (``shuffle``) pairs longer than ``max_seq_len`` are left out, pairs of equal lengths meet others in
    each epoch, and the batches come in another order; all a function of (seed, epoch). For evaluation every pair
    appears once, longer ones cut, and the longest batches come first.

    A batch costs a fraction of a millisecond: wrap this in ``DataLoader(..., batch_size=None)`` without workers.

    Args:
        split: the pairs.
        max_seq_len: longest row on either side, in tokens.
        batch: what a batch holds: that many pairs, or that many tokens of both sides, padding counted.
        seed: of the order; not negative.
        shuffle: True for training, False for evaluation.

    Raises:
        ConfigError: there is no pair, or none that is short enough, to be trained on.
    """

    def __init__(
        self, split: PairSplit, *, max_seq_len: int, batch: BatchSize, seed: int = 0, shuffle: bool = True
    ) -> None:
        super().__init__()
        self._rows = PairRows(split, max_seq_len)
        source, target = self._rows.source_lengths, self._rows.target_lengths
        if shuffle:
            longer = np.maximum(source, target)
            self._examples = np.flatnonzero(longer <= max_seq_len)
            if len(longer) == 0:
                raise ConfigError("data.name: the training split has no pairs.")
            if len(self._examples) == 0:
                raise ConfigError(
                    f"model.max_seq_len: {max_seq_len} is shorter than every pair to train on; "
                    f"the shortest has {longer.min()} tokens."
                )
        else:
            self._examples = np.arange(split.num_pairs)
        source, target = (np.minimum(lengths, max_seq_len) for lengths in (source, target))
        # From one source length to the next the targets grow and shrink in turn: a batch that spans both stays narrow.
        self._keys = (np.where(source % 2, target, -target), source)
        self._seed, self._shuffle = seed, shuffle
        order = self._sorted(self._examples)
        # Equal lengths may change places between epochs, but the lengths in sorted order do not: nor do the cuts.
        self._cuts = _cuts(source[order], target[order], batch)

    def __len__(self) -> int:
        """Batches in an epoch, wherever it is entered."""
        return len(self._cuts) - 1

    def __iter__(self) -> Iterator[PairBatch]:
        """The batches of the chosen epoch."""
        assert get_worker_info() is None, "each worker process would yield all batches"
        if self._shuffle:
            generator = np.random.default_rng([self._seed, self._epoch])
            order = self._sorted(generator.permutation(self._examples))
            numbers = generator.permutation(len(self))
        else:
            order = self._sorted(self._examples)
            numbers = np.arange(len(self))[::-1]
        for number in numbers[self._start :]:
            yield self._rows(order[self._cuts[number] : self._cuts[number + 1]])

    def _sorted(self, examples: np.ndarray) -> np.ndarray:
        """By length, pairs of equal lengths in the order given."""
        return examples[np.lexsort([key[examples] for key in self._keys])]


def _cuts(source: np.ndarray, target: np.ndarray, batch: BatchSize) -> np.ndarray:
    """Where batches start among pairs of these lengths, and where the last one ends; int64."""
    cuts = [0]
    while cuts[-1] < len(source):
        begin = cuts[-1]
        end = begin + int(batch.rows(source[begin] + target[begin]))
        longest = np.maximum.accumulate(source[begin:end]) + np.maximum.accumulate(target[begin:end])
        # As many pairs as fit when all are as long as the longest among them; the first one always does.
        fits = np.arange(1, len(longest) + 1) <= batch.rows(longest)
        cuts.append(begin + max(int(np.count_nonzero(fits)), 1))
    return np.array(cuts)
