"""The interface of the group ``task``."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor

from lightning_tx.core.context import Mean
from lightning_tx.core.errors import choices, naming
from lightning_tx.core.group import Choice, Group
from lightning_tx.core.measure import Direction, Measure
from lightning_tx.data.base import DATA, Data, Splits
from lightning_tx.data.batch import BatchSize
from lightning_tx.data.corpus import SplitName
from lightning_tx.decoding.base import Decoding
from lightning_tx.model.body import Body
from lightning_tx.model.heads.base import Head
from lightning_tx.model.sizes import Sizes
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.tokenizer.sides import Tokenizers


@dataclass(frozen=True)
class Loss:
    """The objective on one batch, kept as a sum so that batches of different size can be put together.

    Attributes:
        sum: objective summed over the targets; scalar.
        count: number of targets; scalar.
        auxiliary: further losses by name, each (mean per token, weight); in a window of several batches each batch's
            value counts as much as its targets do.
        stats: what is worth watching, by name.
    """

    sum: Tensor
    count: Tensor
    auxiliary: Mapping[str, tuple[Tensor, float]] = field(default_factory=dict)
    stats: Mapping[str, Mean] = field(default_factory=dict)

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
    """What a model is trained for: its head, its batches, its objective, its evaluation.

    Attributes:
        measures: the numbers that its evaluators give, by name: which way is good, and what two runs must share for
            their values to be compared.
        primary: the measure that decides which checkpoint is best and which variant is better.
        texts_per_example: what the data must be made of: 1 for single texts, 2 for pairs.
        special_tokens: what the tokenizer must know besides those that every tokenizer knows.
        decodes: whether :meth:`final_evaluator` says more than :meth:`evaluator` does.
    """

    measures: Mapping[str, Measure]
    primary: str
    texts_per_example: ClassVar[int] = 1
    special_tokens: ClassVar[tuple[str, ...]] = ()
    decodes: ClassVar[bool] = False

    @property
    def direction(self) -> Direction:
        """Whether less or more of the primary measure is better."""
        return self.measures[self.primary].direction

    @abstractmethod
    def objective(self, *, max_seq_len: int, batch: BatchSize) -> str:
        """What is predicted, and how it is evaluated, in one line: the same text where numbers are about the same.

        Of the options, and of the sizes given, it names those that decide what a model is evaluated on; what matters
        in training only has no place in it.
        """

    def problems(self, model: Choice[Body], data: Choice[Data[Any]]) -> list[str]:
        """What in a choice of model and data does not fit this task, one sentence each."""
        if data.component.texts_per_example == self.texts_per_example:
            return []
        kinds = {1: "single texts", 2: "pairs of texts"}
        fitting = [other for other in DATA.names() if DATA.get(other).texts_per_example == self.texts_per_example]
        return [
            f"data.name: {data.name!r} does not hold {kinds[self.texts_per_example]}, as the task needs. "
            f"Choices: {choices(fitting)}."
        ]

    def num_classes(self, splits: Splits[Any]) -> int | None:
        """How many classes the examples are sorted into; None where they are not."""
        return None

    def head(self, body: Body, sizes: Sizes) -> Head:
        """What is put on a body to train it for this task: a language model's head by default.

        Args:
            body: the body.
            sizes: those of the vocabularies, and of :meth:`num_classes`.

        Raises:
            ConfigError: the body does not give the states that the task needs.
        """
        return body.language_model_head(sizes)

    def tokenizer_texts(self, splits: Splits[Any]) -> tuple[Sequence[str], ...]:
        """The text to train each tokenizer on: one for single texts; one for both sides of pairs, or one for each."""
        return (splits.train,)

    @abstractmethod
    def prepare(self, splits: Splits[Any], tokenizers: Tokenizers, cache: Path) -> Any:
        """Encode the data once; the result is handed to :meth:`train_batches` and :meth:`eval_batches`.

        Args:
            splits: the data.
            tokenizers: those trained on :meth:`tokenizer_texts`.
            cache: folder that holds the caches.
        """

    def counts(self, corpus: Any, *, max_seq_len: int) -> dict[str, int]:
        """What is worth recording of the prepared data, by name, such as how many examples were too long."""
        return {}

    @abstractmethod
    def train_batches(self, corpus: Any, *, max_seq_len: int, batch: BatchSize, seed: int) -> Loader:
        """Shuffled batches of the training split."""

    @abstractmethod
    def eval_batches(
        self, corpus: Any, split: SplitName, *, max_seq_len: int, batch: BatchSize
    ) -> Iterable[Any] | None:
        """Batches that hold every target of a split once; None where the split is empty."""

    @abstractmethod
    def loss(self, model: Body, batch: Any) -> Loss:
        """The objective on a batch."""

    @abstractmethod
    def evaluator(self, corpus: Any, split: SplitName) -> Evaluator:
        """What says how good a model is on a split."""

    def final_evaluator(self, corpus: Any, split: SplitName, decoding: Decoding) -> Evaluator:
        """The same for the weights that a run ends with, where :attr:`decodes`; ``decoding`` writes the outputs.

        What it shows as :class:`WithOutputs` is kept with the run.
        """
        return self.evaluator(corpus, split)

    def num_positions(self, batch: Any) -> int:
        """How many tokens of a batch a model computes, padding included: those of its ``tokens_BT`` by default."""
        return batch.tokens_BT.numel()

    def max_new_tokens(self, length: int, max_seq_len: int) -> int:
        """The longest output for an input of ``length`` tokens: what it leaves of ``max_seq_len``, one at least."""
        return max(1, max_seq_len + 1 - length)


def problems_of(task: Choice[Task], model: Choice[Body], data: Choice[Data[Any]]) -> list[str]:
    """What in a choice of model and data does not fit a task, one sentence each, which names the task."""
    return naming(task.create().problems(model, data), task=task.name)


TASK = Group("task", Task, __package__)
