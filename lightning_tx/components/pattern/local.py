from typing import Annotated

from pydantic import Field
from torch import Tensor

from lightning_tx.components.pattern.base import PATTERN, Near, Part, Pattern


@PATTERN.register("local")
class Local(Pattern):
    """A window: each token looks at itself and at those less than ``window`` positions away.

    The cache of a decoder keeps the window only.

    Source: Beltagy et al. 2020, arXiv:2004.05150, section 3.1.

    Args:
        window: keys a causal query looks at, itself included.
    """

    def __init__(self, *, window: Annotated[int, Field(gt=0)] = 256) -> None:
        super().__init__()
        self.window = self.reach = window

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``|q - k| < window``."""
        return (q_positions - k_positions).abs() < self.window

    def parts(self) -> tuple[Part, ...]:
        """The window."""
        return (Near(self.window),)
