"""The interface of the group ``feed_forward``, and the two shapes most of its members have."""

from abc import abstractmethod

from torch import Tensor, nn

from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.dims import Dims, Site


class FeedForward(Sublayer):
    """A map of each token by itself, of inner width ``d_ff`` (F)."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__()


class Plain(FeedForward):
    """``down_proj(activation(up_proj(x)))``; a component writes the activation."""

    def __init__(self, dims: Dims, site: Site, bias: bool) -> None:
        super().__init__(dims, site)
        self.up_proj = nn.Linear(dims.d_model, dims.d_ff, bias=bias)
        self.down_proj = nn.Linear(dims.d_ff, dims.d_model, bias=bias)

    @abstractmethod
    def activation(self, x: Tensor) -> Tensor:
        """Elementwise, [B, T, F] to [B, T, F]."""

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to [B, T, D]."""
        return Output(self.down_proj(self.activation(self.up_proj(x_BTD))))


class Gated(Plain):
    """``down_proj(activation(gate_proj(x)) · up_proj(x))``; three matrices instead of two."""

    def __init__(self, dims: Dims, site: Site, bias: bool) -> None:
        super().__init__(dims, site, bias)
        self.gate_proj = nn.Linear(dims.d_model, dims.d_ff, bias=bias)

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to [B, T, D]."""
        return Output(self.down_proj(self.activation(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)))
