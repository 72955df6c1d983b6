from typing import Annotated

from pydantic import Field
from torch import Tensor

from lightning_tx.components.pattern.base import PATTERN, Near, Part, Pattern, Residues


@PATTERN.register("strided")
class Strided(Pattern):
    """The last ``stride`` tokens, and every token at a multiple of ``stride`` positions.

    Two layers reach everything. Every head looks at both.

    Source: Child et al. 2019, arXiv:1904.10509, section 4.2.

    Args:
        stride: about the square root of the sequence's length is cheapest.
    """

    def __init__(self, *, stride: Annotated[int, Field(gt=0)] = 128) -> None:
        super().__init__()
        self.stride = stride

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``|q - k| < stride`` or ``(q - k) mod stride = 0``."""
        distance = q_positions - k_positions
        return (distance.abs() < self.stride) | (distance % self.stride == 0)

    def parts(self) -> tuple[Part, ...]:
        """The window, and the residue classes."""
        return (Near(self.stride), Residues(self.stride))
