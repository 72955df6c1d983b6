"""Norms and blocks with one fault each."""

import torch
from torch import Tensor

from lightning_tx.components.block.pre_norm import PreNorm
from lightning_tx.components.norm.base import Norm
from lightning_tx.core.context import Context, Output
from tests.testing.planted import Fault


class NormalisesTheBatch(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().mean(dim=(0, -1), keepdim=True).sqrt()


class NormalisesTheBatchInTraining(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().mean(dim=(0, -1), keepdim=True).sqrt() if self.training else x


class NormalisesOverTime(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=-2, keepdim=True)


class NormWithoutDocstring(Norm):
    __doc__ = None


class NormWithABadDefault(Norm):
    """A norm.

    Args:
        eps: has to be positive.
    """

    def __init__(self, width: int, *, eps: int = "small") -> None:  # type: ignore[assignment]
        super().__init__(width)


class SkipsASublayer(PreNorm):
    """Runs the first sublayer of each layer alone."""

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        sublayer = self.sublayers["self_attention"]
        return Output(x_BTD + sublayer(self.norms["self_attention"](x_BTD), ctx).x)


class RunsASublayerTwice(PreNorm):
    """Runs the feed-forward twice."""

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        for role in ("self_attention", "feed_forward", "feed_forward"):
            x_BTD = x_BTD + self.sublayers[role](self.norms[role](x_BTD), ctx).x
        return Output(x_BTD)


FAULTS = [
    Fault("rows_are_independent", "norm", NormalisesTheBatch),
    Fault("rows_are_independent", "norm", NormalisesTheBatchInTraining, says="in training"),
    Fault("norm_is_of_the_last_dimension", "norm", NormalisesOverTime),
    Fault("shape_dtype_device", "norm", type("Wide", (Norm,), {"forward": lambda self, x: torch.cat([x, x], dim=-2)})),
    Fault("every_sublayer_runs_once", "block", SkipsASublayer, says="feed_forward 0 times"),
    Fault("every_sublayer_runs_once", "block", RunsASublayerTwice, says="feed_forward 2 times"),
    Fault("describes_itself", "norm", NormWithoutDocstring),
    Fault("defaults_are_valid", "norm", NormWithABadDefault, says="small"),
]
