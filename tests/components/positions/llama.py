"""Llama's rotary positions as transformers computes them."""

from typing import Any

from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb


def turned_by_llama(x_BHTK: Tensor, positions_BT: Tensor, max_seq_len: int = 2048, **rope: Any) -> Tensor:
    """Queries turned by their positions; ``rope`` is transformers' ``rope_parameters``."""
    heads, width = x_BHTK.shape[1], x_BHTK.shape[-1]
    config = LlamaConfig(
        hidden_size=heads * width,
        num_attention_heads=heads,
        max_position_embeddings=max_seq_len,
        rope_parameters={"rope_theta": 10_000.0, **rope},
    )
    cos, sin = LlamaRotaryEmbedding(config)(x_BHTK, positions_BT)
    return apply_rotary_pos_emb(x_BHTK, x_BHTK, cos, sin)[0]
