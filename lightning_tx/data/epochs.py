"""What all loaders of batches have in common: an epoch that can be entered anywhere."""

from abc import abstractmethod
from typing import TypeVar

from torch.utils.data import IterableDataset

BatchType = TypeVar("BatchType", covariant=True)


class Epochs(IterableDataset[BatchType]):
    """Batches in an order that is a function of the epoch; a subclass yields them from ``self._start`` on."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0
        self._start = 0

    @abstractmethod
    def __len__(self) -> int:
        """Batches in an epoch, wherever it is entered."""

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch that the next iteration runs through, without its first ``start`` batches.

        Raises:
            ValueError: the epoch does not have that many batches, or a number is negative.
        """
        if epoch < 0 or not 0 <= start <= len(self):
            raise ValueError(f"There is no batch {start} in epoch {epoch}: epochs have {len(self)} batches.")
        self._epoch = epoch
        self._start = start
