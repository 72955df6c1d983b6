from typing import Annotated

from pydantic import Field
from torch import Tensor

from lightning_tx.components.pattern.base import PATTERN, Columns, Near, Part, Pattern


@PATTERN.register("global_local")
class GlobalLocal(Pattern):
    """A window, and some leading tokens that everything looks at, and that look at everything in an encoder.

    Source: Beltagy et al. 2020, arXiv:2004.05150, section 3.1; Zaheer et al. 2020, arXiv:2007.14062.

    Args:
        window: keys a causal query looks at in its neighbourhood, itself included.
        num_global: leading tokens that are global.
    """

    def __init__(
        self, *, window: Annotated[int, Field(gt=0)] = 256, num_global: Annotated[int, Field(gt=0)] = 16
    ) -> None:
        super().__init__()
        self.window, self.num_global = window, num_global

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``|q - k| < window``, or the key is global."""
        return ((q_positions - k_positions).abs() < self.window) | self.is_global(k_positions)

    def is_global(self, positions: Tensor) -> Tensor:
        """Whether these are among the leading positions."""
        return positions < self.num_global

    def parts(self) -> tuple[Part, ...]:
        """The window, and the global columns."""
        return (Near(self.window), Columns(self.is_global))
