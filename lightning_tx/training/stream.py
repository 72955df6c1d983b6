"""An endless stream of training batches that can be entered anywhere."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from lightning_tx.task.base import Loader


class Stream(IterableDataset):
    """Epoch after epoch of a loader's batches, from batch number ``start`` on.

    Batch number n is the same whether the stream was entered at 0 or at n, so a run that resumes sees exactly what
    it missed.
    """

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self.loader = loader
        self.start = 0

    def __iter__(self) -> Iterator[Any]:
        """The batches from ``start`` on, without end."""
        epoch, skipped = divmod(self.start, len(self.loader))
        while True:
            self.loader.set_epoch(epoch, start=skipped)
            yield from self.loader
            epoch, skipped = epoch + 1, 0


def loader_of(batches: Any) -> DataLoader:
    """Batches as Lightning takes them."""
    return DataLoader(batches, batch_size=None)
