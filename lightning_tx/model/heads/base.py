"""The interface of heads."""

from typing import ClassVar

from torch import Tensor, nn


class Head(nn.Module):
    """Turns the states of a body into what a task predicts.

    It stands in the model under its name, beside the parts of the body: the name of a parameter decides how it starts
    and where it lies in saved weights.

    Attributes:
        name: under which it stands in a model; no name of a body's part.
    """

    name: ClassVar[str]

    def logits(self, x: Tensor) -> Tensor:
        """The states of a body to scores of what is predicted; the last dimension is theirs."""
        raise NotImplementedError
