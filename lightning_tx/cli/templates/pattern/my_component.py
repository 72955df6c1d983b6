from typing import Annotated

from pydantic import Field
from torch import Tensor

from lightning_tx import register
from lightning_tx.components.pattern.base import Pattern


@register("pattern", "my_component")
class MyComponent(Pattern):
    """A window with holes: near keys, and of those the ones at a multiple of some positions.

    Source: Beltagy et al. 2020, arXiv:2004.05150, section 3.1; its dilated window.

    Args:
        window: keys nearer than this many positions.
        step: one key in so many.
    """

    def __init__(self, *, window: Annotated[int, Field(gt=0)] = 64, step: Annotated[int, Field(gt=0)] = 2) -> None:
        super().__init__()
        self.window, self.step = window, step
        self.reach = window  # a cache may forget what is farther away

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``|q - k| < window`` and ``(q - k) mod step = 0``."""
        distance = q_positions - k_positions
        return (distance.abs() < self.window) & (distance % self.step == 0)
