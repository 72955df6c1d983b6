from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER, Adapter, at_sites, sublayers
from lightning_tx.components.adapter.extension import Extension
from lightning_tx.core.context import Context, KeyValueShape, Output, Sublayer
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Constant, Normal


class PrefixedAttention(Extension, Sublayer):
    """An attention whose queries see some trained keys and values besides its source."""

    relative = False  # a query is turned by its position, the prefix by none

    def extend(self, length: int, shape: KeyValueShape, like: Tensor) -> None:
        self.prefix_k = nn.Parameter(like.new_zeros(1, shape.num_heads, length, shape.key_width))
        self.prefix_v = nn.Parameter(like.new_zeros(1, shape.num_heads, length, shape.value_width))
        self.declare(prefix_k=Normal(1.0), prefix_v=Constant(0.0, decays=True))

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to the branch's contribution [B, T, D]."""
        return super().forward(x_BTD, replace(ctx, prefix=(self.prefix_k, self.prefix_v)))


@ADAPTER.register("prefix")
class Prefix(Adapter):
    """Trains keys and values that every query of a frozen attention sees besides its own source.

    They have no position and no mask. Each attention has its own, trained directly; the paper's detour through a
    network, dropped after training, is left out. Keys start with variance 1, values at zero: at first the prefix adds
    nothing but takes a share of the weights, so the model does not start exactly as the base.

    Source: Li and Liang 2021, arXiv:2101.00190.

    Args:
        length: how many keys and values (P) an attention gets.
        sites: which attentions; null for all.
    """

    starts_as_base = False
    unmergeable = "prefix cannot be merged into the base: its keys and values are those of no token."

    def __init__(
        self,
        *,
        length: Annotated[int, Field(gt=0)] = 10,
        sites: Annotated[list[Literal["self_attention", "cross_attention"]], Field(min_length=1)] | None = None,
    ) -> None:
        super().__init__()
        self.length, self.sites = length, sites

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        """The chosen attentions, each with a prefix.

        Raises:
            ConfigError: the model has no such attention.
        """
        attentions = {name: sublayer for name, sublayer in sublayers(model).items() if sublayer.kv_shape is not None}
        chosen = at_sites(attentions, self.sites)
        if not chosen:
            raise ConfigError("adapter.name: prefix gives keys and values to attentions, and this model has none.")
        like = next(model.parameters())
        return {
            name: PrefixedAttention.of(attention, self.length, attention.kv_shape, like)
            for name, attention in chosen.items()
        }
