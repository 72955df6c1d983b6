"""The interface of the group ``feed_forward``, and the two shapes most of its members have."""

from abc import abstractmethod

from torch import Tensor

from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.group import Group


class FeedForward(Sublayer):
    """A map of each token by itself, of inner width ``d_ff`` (F)."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__()


class Plain(FeedForward):
    """``down_proj(activation(up_proj(x)))``; a component writes the activation.

    Whatever derives from it can be an expert: its projections are what ``site.make_linear`` builds. Where those are
    grouped, :meth:`map` is given rows sorted by group, and how many each group has.

    Args:
        bias: whether the projections have a bias.
    """

    def __init__(self, dims: Dims, site: Site, *, bias: bool = False) -> None:
        super().__init__(dims, site)
        self.up_proj = site.make_linear(dims.d_model, dims.d_ff, bias=bias)
        self.down_proj = site.make_linear(dims.d_ff, dims.d_model, bias=bias)

    @abstractmethod
    def activation(self, x: Tensor) -> Tensor:
        """Elementwise, [..., F] to [..., F]."""

    def map(self, x: Tensor, *groups: Tensor) -> Tensor:
        """[..., D] to [..., D]; ``groups`` is handed on to the projections."""
        return self.down_proj(self.activation(self.up_proj(x, *groups)), *groups)

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to [B, T, D]."""
        return Output(self.map(x_BTD))


class Gated(Plain):
    """``down_proj(activation(gate_proj(x)) · up_proj(x))``; three matrices instead of two."""

    def __init__(self, dims: Dims, site: Site, *, bias: bool = False) -> None:
        super().__init__(dims, site, bias=bias)
        self.gate_proj = site.make_linear(dims.d_model, dims.d_ff, bias=bias)

    def map(self, x: Tensor, *groups: Tensor) -> Tensor:
        """[..., D] to [..., D]; ``groups`` is handed on to the projections."""
        return self.down_proj(self.activation(self.gate_proj(x, *groups)) * self.up_proj(x, *groups), *groups)


FEED_FORWARD = Group("feed_forward", Sublayer, __package__, gives=("dims", "site"))
