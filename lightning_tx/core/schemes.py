"""How a parameter wishes to be initialised. Declared by modules, carried out by one owner in ``model/init.py``.

A module that holds parameters of its own declares them: ``initial = {"weight": Constant(1.0)}``, as a class or an
instance attribute. ``nn.Linear`` and ``nn.Embedding`` have defaults and may override them on the instance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Constant:
    """Every entry equals ``value``."""

    value: float

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """A tensor of the given shape in float32."""
        return torch.full(shape, self.value)


@dataclass(frozen=True)
class Normal:
    """Independent normal entries with mean 0 and standard deviation ``std``."""

    std: float

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """A tensor of the given shape in float32."""
        return torch.randn(shape, generator=generator) * self.std


@dataclass(frozen=True)
class Uniform:
    """Independent uniform entries in [-bound, bound]."""

    bound: float

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """A tensor of the given shape in float32."""
        return (torch.rand(shape, generator=generator) * 2 - 1) * self.bound


Scheme = Constant | Normal | Uniform
