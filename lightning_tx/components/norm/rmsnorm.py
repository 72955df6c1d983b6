from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.norm.base import NORM, Norm
from lightning_tx.core.schemes import Constant


@NORM.register("rmsnorm")
class RMSNorm(Norm):
    """Divides by the root mean square, then scales; no mean is taken and there is no shift.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467.

    Args:
        eps: added to the mean square.
    """

    initial = {"weight": Constant(1.0)}

    def __init__(self, width: int, *, eps: Annotated[float, Field(gt=0)] = 1e-5) -> None:
        super().__init__(width)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """``x / sqrt(mean(x²) + eps) · weight`` over the last dimension."""
        return F.rms_norm(x, (self.width,), self.weight, self.eps)
