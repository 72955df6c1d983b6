from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.attention.base import ATTENTION, Attention, AttentionOptions, Rotate, split_heads
from lightning_tx.core.context import Context, KeyValueShape
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Constant, declare


@ATTENTION.register("multi_head")
class MultiHeadAttention(Attention):
    """Heads of scaled dot-product attention whose keys and values may be shared by groups of query heads.

    ``num_kv_heads`` spans the family: as many as heads is multi-head attention (mha), one is multi-query (mqa).

    Source: Ainslie et al. 2023, arXiv:2305.13245; Vaswani et al. 2017, arXiv:1706.03762; Shazeer 2019,
    arXiv:1911.02150; norms of queries and keys: Henry et al. 2020, arXiv:2010.04245, as in Qwen 3 and Gemma 3; the
    value residual: Zhou et al. 2024, arXiv:2410.17897 (ResFormer with trained shares).

    Args:
        num_kv_heads: key/value heads (G), a divisor of ``num_heads``; null for as many as ``num_heads``.
        bias: whether the projections have a bias.
        output_bias: whether ``o_proj`` has one (in Qwen 2 the other three alone do); null for as ``bias``.
        qk_norm: whether each head's queries and keys pass a norm of the layer's kind before they are rotated.
        value_residual: whether in self-attention each layer's values are ``a`` times those of the stack's first layer
            plus ``b`` times its own, two trained numbers a layer that start at 0.5.
        dropout: probability of dropping an attention weight in training.

    Raises:
        ConfigError: ``num_kv_heads`` does not divide ``num_heads``.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        num_kv_heads: Annotated[int, Field(gt=0)] | None = None,
        bias: bool = False,
        output_bias: bool | None = None,
        qk_norm: bool = False,
        value_residual: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        **options: Unpack[AttentionOptions],
    ) -> None:
        super().__init__(dims, site, dropout, **options)
        self.num_heads = dims.num_heads
        self.num_kv_heads = dims.num_heads if num_kv_heads is None else num_kv_heads
        if self.num_heads % self.num_kv_heads:
            divisors = [n for n in range(1, self.num_heads + 1) if self.num_heads % n == 0]
            raise ConfigError(
                f"attention.num_kv_heads: {num_kv_heads} does not divide model.num_heads = {self.num_heads}. "
                f"Choices: {', '.join(map(str, divisors))}."
            )
        self.kv_shape = KeyValueShape(self.num_kv_heads, dims.head_dim, dims.head_dim)
        q_width, kv_width = self.num_heads * dims.head_dim, self.num_kv_heads * dims.head_dim
        self.q_proj = nn.Linear(dims.d_model, q_width, bias=bias)
        self.k_proj = nn.Linear(dims.d_model, kv_width, bias=bias)
        self.v_proj = nn.Linear(dims.d_model, kv_width, bias=bias)
        self.o_proj = nn.Linear(q_width, dims.d_model, bias=bias if output_bias is None else output_bias)
        self.q_norm = site.make_norm(dims.head_dim) if qk_norm else nn.Identity()
        self.k_norm = site.make_norm(dims.head_dim) if qk_norm else nn.Identity()
        self.value_shares: nn.Parameter | None = None
        if value_residual and not site.is_cross:
            sizes = {"values": (self.num_kv_heads, dims.head_dim)}
            if site.layer == 0:
                self.carries = sizes
            else:
                self.needs = sizes
                self.value_shares = nn.Parameter(torch.empty(2))
                declare(self, value_shares=Constant(0.5))

    def queries(self, x_BTD: Tensor, rotate: Rotate) -> Tensor:
        """Queries [B, H, T, K]."""
        return rotate(self.q_norm(split_heads(self.q_proj(x_BTD), self.num_heads)))

    def keys_values(self, source_BSD: Tensor, rotate: Rotate) -> dict[str, Tensor]:
        """Rotated keys and values, [B, G, S, K] each."""
        return {
            "k": rotate(self.k_norm(split_heads(self.k_proj(source_BSD), self.num_kv_heads))),
            "v": split_heads(self.v_proj(source_BSD), self.num_kv_heads),
        }

    def own(self, x_BTD: Tensor, ctx: Context) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Keys and values of self-attention, and the first layer's new values for the later ones."""
        new = self.keys_values(x_BTD, ctx.rotate)
        if self.value_shares is not None:
            first, own = self.value_shares
            new["v"] = first * ctx.carried["values"] + own * new["v"]
        k_BGSK, v_BGSK = self.expand(ctx.remember(self.site, new))
        return k_BGSK, v_BGSK, {"values": new["v"]} if self.carries else {}
