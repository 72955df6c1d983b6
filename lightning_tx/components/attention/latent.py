from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.attention.base import ATTENTION, Attention, AttentionOptions, Rotate, split_heads
from lightning_tx.core.context import KeyValueShape
from lightning_tx.core.dims import Dims, Site


@ATTENTION.register("latent")
class LatentAttention(Attention):
    """Heads whose keys and values are made from one small latent for each token: the latent is all a cache holds.

    A rotation of the keys would have to be repeated whenever they are made from the latent, and could not be moved
    over to the queries. So each query and key consists of two parts: ``head_dim`` dimensions without rotation, and
    ``rope_head_dim`` that are rotated. Of the latter there is one key for all heads, which the cache holds beside the
    latent. Where nothing rotates, in cross-attention and with positions of another kind, that part is an ordinary key
    which all heads share.

    A token's latent and shared key take ``kv_rank + rope_head_dim`` numbers of the cache, where G key/value heads take
    ``2 · G · head_dim``.

    Source: DeepSeek-AI 2024, arXiv:2405.04434, section 2.1.

    Args:
        kv_rank: width of the latent of keys and values; null for ``2 · head_dim`` (DeepSeek-V2 and V3: 4).
        q_rank: width of the latent of queries; null to make queries without one.
        rope_head_dim: width of the part that is rotated, even; null for half of ``head_dim``, rounded down to an even
            number, at least 2.
        value_head_dim: width of a head's values; null for ``head_dim``.
        dropout: probability of dropping an attention weight in training.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        kv_rank: Annotated[int, Field(gt=0)] | None = None,
        q_rank: Annotated[int, Field(gt=0)] | None = None,
        rope_head_dim: Annotated[int, Field(gt=0, multiple_of=2)] | None = None,
        value_head_dim: Annotated[int, Field(gt=0)] | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        **options: Unpack[AttentionOptions],
    ) -> None:
        heads, plain = dims.num_heads, dims.head_dim
        rotary = max(plain // 4 * 2, 2) if rope_head_dim is None else rope_head_dim
        rank = 2 * plain if kv_rank is None else kv_rank
        value = plain if value_head_dim is None else value_head_dim
        super().__init__(dims, site, dropout, value, **options)
        self.num_heads = heads
        self.q_split, self.kv_split = [plain, rotary], [rank, rotary]
        self.scale = (plain + rotary) ** -0.5
        self.kv_shape = KeyValueShape(heads, plain + rotary, value)
        self.q_down_proj = nn.Identity() if q_rank is None else nn.Linear(dims.d_model, q_rank, bias=False)
        self.q_norm = nn.Identity() if q_rank is None else site.make_norm(q_rank)
        self.q_proj = nn.Linear(dims.d_model if q_rank is None else q_rank, heads * (plain + rotary), bias=False)
        self.kv_down_proj = nn.Linear(dims.d_model, rank + rotary, bias=False)
        self.kv_norm = site.make_norm(rank)
        self.k_proj = nn.Linear(rank, heads * plain, bias=False)
        self.v_proj = nn.Linear(rank, heads * value, bias=False)
        self.o_proj = nn.Linear(heads * value, dims.d_model, bias=False)

    def queries(self, x_BTD: Tensor, rotate: Rotate) -> Tensor:
        """Queries [B, H, T, head_dim + rope_head_dim], their last part rotated."""
        q_BHTK = split_heads(self.q_proj(self.q_norm(self.q_down_proj(x_BTD))), self.num_heads)
        plain, rotary = q_BHTK.split(self.q_split, dim=-1)
        return torch.cat([plain, rotate(rotary)], dim=-1)

    def keys_values(self, source_BSD: Tensor, rotate: Rotate) -> dict[str, Tensor]:
        """The latent [B, S, kv_rank] after its norm, and the rotated key of all heads [B, 1, S, rope_head_dim]."""
        latent, rotary = self.kv_down_proj(source_BSD).split(self.kv_split, dim=-1)
        return {"latent": self.kv_norm(latent), "rotary": rotate(rotary[:, None])}

    def expand(self, held: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys [B, H, S, head_dim + rope_head_dim] and values [B, H, S, value_head_dim]."""
        plain = split_heads(self.k_proj(held["latent"]), self.num_heads)
        rotary = held["rotary"].expand(-1, self.num_heads, -1, -1)
        return torch.cat([plain, rotary], dim=-1), split_heads(self.v_proj(held["latent"]), self.num_heads)
