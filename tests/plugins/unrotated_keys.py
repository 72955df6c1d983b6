"""An attention whose cache holds one tensor for keys and values: keys are turned when they are looked at."""

from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.components.attention.base import Attention, Rotate, split_heads
from lightning_tx.core.context import Context, KeyValueShape
from lightning_tx.core.dims import Dims, Site


@register("attention", "unrotated_keys")
class UnrotatedKeys(Attention):
    """Values are the keys before they turn, so that a token keeps half as much."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site, dropout=0.0)
        self.num_heads, width = dims.num_heads, dims.num_heads * dims.head_dim
        self.kv_shape = KeyValueShape(dims.num_heads, dims.head_dim, dims.head_dim)
        self.q_proj, self.k_proj = (nn.Linear(dims.d_model, width, bias=False) for _ in range(2))
        self.o_proj = nn.Linear(width, dims.d_model, bias=False)

    def queries(self, x_BTD: Tensor, rotate: Rotate) -> Tensor:
        return rotate(split_heads(self.q_proj(x_BTD), self.num_heads))

    def keys_values(self, source_BSD: Tensor, rotate: Rotate) -> dict[str, Tensor]:
        keys = split_heads(self.k_proj(source_BSD), self.num_heads)
        return {"k": rotate(keys), "v": keys}

    def own(self, x_BTD: Tensor, ctx: Context) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        held = ctx.remember(self.site, {"kv": split_heads(self.k_proj(x_BTD), self.num_heads)})["kv"]
        return ctx.rotate_held(held), held, {}
