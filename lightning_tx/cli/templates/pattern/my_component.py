from typing import Annotated

from pydantic import Field
from torch import Tensor

from lightning_tx.components.pattern.base import Pattern
from lightning_tx.core.registry import register


@register("pattern", "my_component")
class MyComponent(Pattern):
    """Every query looks at near keys, and at every key in the beginning of the sequence.

    Args:
        window: keys nearer than this many positions.
        sinks: how many positions at the beginning.
    """

    def __init__(self, *, window: Annotated[int, Field(gt=0)] = 64, sinks: Annotated[int, Field(ge=0)] = 4) -> None:
        super().__init__()
        self.window, self.sinks = window, sinks

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``|q - k| < window``, or either of the two among the sinks."""
        sink = (q_positions < self.sinks) | (k_positions < self.sinks)
        return ((q_positions - k_positions).abs() < self.window) | sink
