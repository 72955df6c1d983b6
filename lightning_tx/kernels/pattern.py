"""Who may look at whom by position, and what makes that cheap to compute."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


class Part:
    """A set of (query, key) pairs of a shape that a kernel can reach without looking at all pairs."""

    def allows(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """Whether a pair belongs to it, elementwise; the two are broadcast."""
        raise NotImplementedError


@dataclass(frozen=True)
class Near(Part):
    """Keys less than ``reach`` positions away.

    ``allows`` of a subclass may be narrower, if it repeats every ``reach`` positions.
    """

    reach: int

    def allows(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``|q - k| < reach``."""
        return (q_positions - k_positions).abs() < self.reach


@dataclass(frozen=True)
class SameBlock(Near):
    """Keys of the query's own block of ``reach`` positions."""

    def allows(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``q // reach = k // reach``."""
        return q_positions // self.reach == k_positions // self.reach


@dataclass(frozen=True)
class Residues(Part):
    """Keys at a multiple of ``stride`` positions."""

    stride: int

    def allows(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``(q - k) mod stride = 0``."""
        return (q_positions - k_positions) % self.stride == 0


@dataclass(frozen=True)
class Columns(Part):
    """Keys at chosen positions, for every query; ``chosen`` maps positions to bool, elementwise."""

    chosen: Callable[[Tensor], Tensor]

    def allows(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``chosen(k)``."""
        return self.chosen(k_positions)


class Pattern:
    """Who may look at whom by position, in self-attention.

    A pattern is the truth elementwise, and lets every token look at itself. The mask adds what a pattern does not
    know: a causal stack hides the future, an encoder lets two tokens look at each other if one may look at the other,
    and nobody looks into another document or at padding.

    Attributes:
        reach: a query looks at keys less than this many positions away, so that a cache may forget the others; None
            where there is no such limit.
        prefix: number of leading positions that everyone looks at, in a causal stack too.
    """

    reach: int | None = None
    prefix: int = 0

    def __init__(self) -> None: ...

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """Whether the query may look at the key.

        Args:
            q_positions: [..., T, 1].
            k_positions: [..., 1, S].

        Returns:
            bool, [..., T, S]; None where everything is allowed.
        """
        raise NotImplementedError

    @property
    def is_full(self) -> bool:
        """Whether it restricts nothing and has no prefix."""
        first = torch.zeros(1, 1, dtype=torch.long, device="cpu")
        return not self.prefix and self(first, first) is None

    def parts(self) -> tuple[Part, ...]:
        """The same set as a union of cheap parts, which may overlap; empty where there are none."""
        return ()
