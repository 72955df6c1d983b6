import copy
from dataclasses import replace
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER, Adapter, Model, at_sites, stacks_of, sublayers
from lightning_tx.components.adapter.extension import Extension
from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Constant, Normal, declare


class BottleneckSublayer(Extension, Sublayer):
    """A sublayer whose output y becomes ``y + up(GELU(down(y)))``."""

    def extend(self, d_model: int, size: int, like: Tensor) -> None:
        self.adapter_down = _linear(d_model, size, like, std=0.01)
        self.adapter_up = _linear(size, d_model, like, std=0.0)

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to the branch's contribution [B, T, D]."""
        output = super().forward(x_BTD, ctx)
        return replace(output, x=output.x + self.adapter_up(F.gelu(self.adapter_down(output.x))))


@ADAPTER.register("bottleneck")
class Bottleneck(Adapter):
    """Puts a narrow two-layer network, with a residual connection of its own, behind sublayers of a frozen base.

    It stands inside of the residual branch, before the branch's dropout. The published one starts near zero in both
    maps; here the second starts at zero, so that the model starts as the base.

    Source: Houlsby et al. 2019, arXiv:1902.00751.

    Args:
        size: inner width m; a sublayer gets ``2 m D + m + D`` parameters.
        sites: behind which sublayers; null for all, as published.
        norms: whether the norms outside of the sublayers are trained too, as published.
    """

    unmergeable = "bottleneck cannot be merged into the base: a nonlinearity stands between its two maps."

    def __init__(
        self,
        *,
        size: Annotated[int, Field(gt=0)] = 64,
        sites: Annotated[list[Literal["self_attention", "cross_attention", "feed_forward"]], Field(min_length=1)]
        | None = None,
        norms: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.sites, self.norms = size, sites, norms

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        """The chosen sublayers with a bottleneck behind each, and a trained copy of each norm.

        Raises:
            ConfigError: the model has no such sublayer.
        """
        chosen = at_sites(sublayers(model), self.sites)
        if not chosen:
            raise ConfigError("adapter.name: bottleneck stands behind sublayers, and this model has none.")
        d_model, like = cast(Model, model).d_model, next(model.parameters())
        replacements: dict[str, nn.Module] = {
            name: BottleneckSublayer.of(sublayer, d_model, self.size, like) for name, sublayer in chosen.items()
        }
        if self.norms:
            replacements |= {
                f"{name}.{own}": copy.deepcopy(norm)
                for name, stack in stacks_of(model).items()
                for own, norm in stack.norms.items()
                if any(True for _ in norm.parameters())
            }
        return replacements


def _linear(inputs: int, outputs: int, like: Tensor, *, std: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, dtype=like.dtype, device=like.device)
    declare(linear, weight=Normal(std), bias=Constant(0.0))
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.zero_()
    return linear
