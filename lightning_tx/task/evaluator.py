"""What says how good a model is on a split."""

from abc import abstractmethod
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torchmetrics import Metric

from lightning_tx.model.body import Body


class Evaluator(Metric):
    """Runs a model over the batches of a split, and says what it is worth there.

    What it sums up over the batches are states as a metric of torchmetrics has them: they lie on its device, and are
    forgotten by ``reset``. To be used without gradients, on a model in evaluation mode.
    """

    full_state_update = False

    @abstractmethod
    def update(self, model: Body, batch: Any) -> None:
        """Run the model on a batch and add what comes of it."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The numbers by name, over all batches since the last ``reset``."""


@runtime_checkable
class WithOutputs(Protocol):
    """An evaluator of what a model wrote, which has more to show than scores."""

    def files(self) -> dict[str, str | bytes]:
        """Files to keep with the run, by name: text, or bytes as they are."""
        ...

    def timing(self) -> dict[str, float]:
        """What the writing took, by name."""
        ...


@runtime_checkable
class WithTargets(Protocol):
    """An evaluator whose loss is a mean over targets, which it counts."""

    targets: Tensor
