"""How a parameter wishes to be initialised. Declared by modules, carried out by one owner in ``model/init.py``.

By its scheme a parameter also tells what it is: gains and biases start constant, and weight decay spares them.

A module that holds parameters of its own declares them on its class: ``initial = {"weight": Constant(1.0)}``, or on an
instance by :func:`declare`. ``nn.Linear`` and ``nn.Embedding`` have defaults.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Constant:
    """Every entry equals ``value``.

    Attributes:
        value: the value.
        decays: whether it is a matrix or an embedding all the same, to which weight decay applies.
    """

    value: float
    decays: bool = False

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """A tensor of the given shape in float32."""
        return torch.full(shape, self.value)


@dataclass(frozen=True)
class Normal:
    """Independent normal entries with mean 0 and standard deviation ``std``."""

    std: float
    decays: ClassVar[bool] = True

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """A tensor of the given shape in float32."""
        return torch.randn(shape, generator=generator) * self.std


@dataclass(frozen=True)
class Uniform:
    """Independent uniform entries in [-bound, bound]."""

    bound: float
    decays: ClassVar[bool] = True

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """A tensor of the given shape in float32."""
        return (torch.rand(shape, generator=generator) * 2 - 1) * self.bound


@dataclass(frozen=True)
class Between:
    """Independent uniform entries in [low, high] that are no matrix: weight decay spares them."""

    low: float
    high: float
    decays: ClassVar[bool] = False

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """A tensor of the given shape in float32."""
        return torch.rand(shape, generator=generator) * (self.high - self.low) + self.low


Scheme = Constant | Normal | Uniform | Between


def declare(module: nn.Module, **schemes: Scheme) -> None:
    """Say how parameters of one instance are to be initialised, by their names in it; what was said of others stays."""
    module.__dict__["initial"] = {**getattr(module, "initial", {}), **schemes}
