"""Batches of examples that are about equally long, so that little of a batch is padding."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch.utils.data import get_worker_info

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.batch import BatchSize, PairBatch
from lightning_tx.data.epochs import BatchType, Epochs
from lightning_tx.data.pairs import PairRows, PairSplit


class ByLength(Epochs[BatchType]):
    """Batches of examples, sorted by length and cut where a batch is full.

    For training (``shuffle``) examples longer than ``max_seq_len`` are left out, examples of equal lengths meet others
    in each epoch, and the batches come in another order; all a function of (seed, epoch). For evaluation every example
    appears once, longer ones cut, and the longest batches come first.

    A batch costs a fraction of a millisecond: wrap this in ``DataLoader(..., batch_size=None)`` without workers.

    Args:
        rows: from the numbers of examples, int64 [B], to their batch.
        lengths: tokens of each example, int64 [N]; of pairs two arrays, the second text's after the first's.
        what: what an example is called in messages.
        max_seq_len: longest row, in tokens; of either text where there are two.
        batch: what a batch holds: that many examples, or that many tokens, padding counted.
        seed: of the order; not negative.
        shuffle: True for training, False for evaluation.

    Raises:
        ConfigError: there is no example, or none that is short enough, to be trained on.
    """

    def __init__(
        self,
        rows: Callable[[np.ndarray], BatchType],
        lengths: Sequence[np.ndarray],
        *,
        what: str,
        max_seq_len: int,
        batch: BatchSize,
        seed: int,
        shuffle: bool,
    ) -> None:
        super().__init__()
        self._rows = rows
        longest = np.max(lengths, axis=0)
        if shuffle:
            self._examples = np.flatnonzero(longest <= max_seq_len)
            if len(longest) == 0:
                raise ConfigError(f"data.name: the training split has no {what}s.")
            if len(self._examples) == 0:
                raise ConfigError(
                    f"model.max_seq_len: {max_seq_len} is shorter than every {what} to train on; "
                    f"the shortest has {longest.min()} tokens."
                )
        else:
            self._examples = np.arange(len(longest))
        cut = [np.minimum(each, max_seq_len) for each in lengths]
        # From one length of the first to the next the others grow and shrink in turn: a batch of both stays narrow.
        self._keys = (*(np.where(cut[0] % 2, each, -each) for each in cut[:0:-1]), cut[0])
        self._seed, self._shuffle = seed, shuffle
        order = self._sorted(self._examples)
        # Equal lengths may change places between epochs, but the lengths in sorted order do not: nor do the cuts.
        self._cuts = _cuts([each[order] for each in cut], batch)

    def __len__(self) -> int:
        """Batches in an epoch, wherever it is entered."""
        return len(self._cuts) - 1

    def __iter__(self) -> Iterator[BatchType]:
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
        """By length, examples of equal lengths in the order given."""
        return examples[np.lexsort([key[examples] for key in self._keys])]


class BucketedBatches(ByLength[PairBatch]):
    """Batches of pairs, sorted by length and cut where a batch is full; see :class:`ByLength`.

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
        rows = PairRows(split, max_seq_len)
        super().__init__(
            rows,
            [rows.source_lengths, rows.target_lengths],
            what="pair",
            max_seq_len=max_seq_len,
            batch=batch,
            seed=seed,
            shuffle=shuffle,
        )


def _cuts(lengths: Sequence[np.ndarray], batch: BatchSize) -> np.ndarray:
    """Where batches start among examples of these lengths, and where the last one ends; int64."""
    cuts = [0]
    while cuts[-1] < len(lengths[0]):
        begin = cuts[-1]
        end = begin + int(batch.rows(sum(each[begin] for each in lengths)))
        longest = np.sum([np.maximum.accumulate(each[begin:end]) for each in lengths], axis=0)
        # As many examples as fit when all are as long as the longest among them; the first one always does.
        fits = np.arange(1, len(longest) + 1) <= batch.rows(longest)
        cuts.append(begin + max(int(np.count_nonzero(fits)), 1))
    return np.array(cuts)
