"""Documents packed end to end into rows of equal length."""

from collections.abc import Iterator

from torch.utils.data import get_worker_info

from lightning_tx.data.batch import Batch
from lightning_tx.data.corpus import EncodedSplit
from lightning_tx.data.epochs import Epochs
from lightning_tx.data.order import SequentialOrder, ShuffledOrder
from lightning_tx.data.rows import Rows


class PackedBatches(Epochs[Batch]):
    """Batches of rows of ``seq_len`` tokens, cut from a split's token stream.

    For training (``shuffle``) every epoch cuts the stream at another offset and visits the rows in another order,
    both a function of (seed, epoch); all batches are full, and an epoch leaves out the few rows that do not fill one.
    For evaluation the rows follow one another from the start of the split and hold every target once; the last one is
    filled up with padding and the last batch may be smaller.

    A batch costs a fraction of a millisecond: wrap this in ``DataLoader(..., batch_size=None)`` without workers.

    Args:
        split: the tokens.
        seq_len: tokens in a row.
        batch_size: rows in a batch.
        seed: of the order; not negative.
        shuffle: True for training, False for evaluation.

    Raises:
        ConfigError: the split is to be trained on and has less than one batch in it.
    """

    def __init__(
        self, split: EncodedSplit, *, seq_len: int, batch_size: int, seed: int = 0, shuffle: bool = True
    ) -> None:
        super().__init__()
        self._rows = Rows(split, seq_len)
        num_tokens = len(split.tokens)
        self._order = (
            ShuffledOrder(num_tokens, seq_len, batch_size, seed)
            if shuffle
            else SequentialOrder(num_tokens, seq_len, batch_size)
        )

    def __len__(self) -> int:
        """Batches in an epoch, wherever it is entered."""
        return self._order.num_batches

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the chosen epoch."""
        assert get_worker_info() is None, "each worker process would yield all batches"
        offsets = self._order.offsets(self._epoch)
        size = self._order.batch_size
        for batch in range(self._start, len(self)):
            yield self._rows(offsets[batch * size : (batch + 1) * size])
