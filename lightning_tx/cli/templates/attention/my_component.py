from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.components.attention.base import Attention, Rotate, split_heads
from lightning_tx.core.context import KeyValueShape
from lightning_tx.core.dims import Dims, Site


@register("attention", "my_component")
class MyComponent(Attention):
    """Heads whose keys, before rotation, are their values too: one projection less, and half of the cache's work.

    Args:
        bias: whether the projections have a bias.
    """

    def __init__(self, dims: Dims, site: Site, *, bias: bool = False) -> None:
        super().__init__(dims, site, dropout=0.0)
        self.num_heads, width = dims.num_heads, dims.num_heads * dims.head_dim
        self.kv_shape = KeyValueShape(dims.num_heads, dims.head_dim, dims.head_dim)
        self.q_proj = nn.Linear(dims.d_model, width, bias=bias)
        self.k_proj = nn.Linear(dims.d_model, width, bias=bias)
        self.o_proj = nn.Linear(width, dims.d_model, bias=bias)

    def queries(self, x_BTD: Tensor, rotate: Rotate) -> Tensor:
        """Queries [B, H, T, K]."""
        return rotate(split_heads(self.q_proj(x_BTD), self.num_heads))

    def keys_values(self, source_BSD: Tensor, rotate: Rotate) -> dict[str, Tensor]:
        """Keys and values, [B, H, S, K] each."""
        shared = split_heads(self.k_proj(source_BSD), self.num_heads)
        return {"k": rotate(shared), "v": shared}
