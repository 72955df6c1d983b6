"""The interface of the group ``task``."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor, nn
from torchmetrics import Metric

from lightning_tx.data.base import Splits
from lightning_tx.data.corpus import SplitName
from lightning_tx.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Loss:
    """The objective on one batch, kept as a sum so that batches of different size can be put together.

    Attributes:
        sum: objective summed over the targets; scalar.
        count: number of targets; scalar.
        auxiliary: further losses by name, each (mean per token, weight).
        stats: what is worth watching, by name.
    """

    sum: Tensor
    count: Tensor
    auxiliary: Mapping[str, tuple[Tensor, float]] = field(default_factory=dict)
    stats: Mapping[str, Tensor] = field(default_factory=dict)

    def total(self) -> Tensor:
        """Objective plus weighted auxiliary losses, summed over the targets."""
        extra = [value * weight * self.count for value, weight in self.auxiliary.values()]
        return self.sum + sum(extra) if extra else self.sum


class Loader(Protocol):
    """Batches in an order that is a function of (seed, epoch)."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, and how many of its batches to skip."""
        ...

    def __iter__(self) -> Any:
        """The batches of the chosen epoch."""
        ...


class Task(ABC):
    """What a model is trained for: its batches, its objective, its metrics.

    Attributes:
        primary: the metric that decides which checkpoint is best and which variant is better.
        direction: whether less or more of it is better.
    """

    primary: ClassVar[str]
    direction: ClassVar[Literal["min", "max"]]

    def problems(self, config: Mapping[str, Any]) -> list[str]:
        """What in a whole config does not fit this task, one sentence each."""
        return []

    @abstractmethod
    def prepare(self, splits: Splits[Any], tokenizer: Tokenizer, cache: Path) -> Any:
        """Encode the data once; the result is handed to :meth:`train_batches` and :meth:`eval_batches`."""

    @abstractmethod
    def train_batches(self, corpus: Any, *, max_seq_len: int, batch_size: int, seed: int) -> Loader:
        """Shuffled batches of the training split."""

    @abstractmethod
    def eval_batches(self, corpus: Any, split: SplitName, *, max_seq_len: int, batch_size: int) -> Iterable[Any] | None:
        """Batches that hold every target of a split once; None where the split is empty."""

    @abstractmethod
    def loss(self, net: nn.Module, batch: Any) -> Loss:
        """The objective on a batch."""

    @abstractmethod
    def metric(self, corpus: Any, split: SplitName) -> Metric:
        """The metric of a split: ``update(net, batch)`` for each batch, ``compute()`` to a dict of numbers by name."""
