"""Sizes, places and contexts for testing one component by itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_tx.core.context import Context, Memory
from lightning_tx.core.dims import Dims, Role, Site
from lightning_tx.kernels.masks import Mask, positions_in_rows

DIMS = Dims(
    d_model=16,
    num_heads=4,
    head_dim=4,
    d_ff=24,
    encoder_layers=0,
    decoder_layers=2,
    max_seq_len=32,
    dropout=0.0,
)


def dims(**changes: Any) -> Dims:
    """The sizes of a small decoder, but for the changes."""
    return replace(DIMS, **changes)


def site(role: Role = "self_attention", **changes: Any) -> Site:
    """The first of two layers of a decoder, or what the changes make of it."""
    place = Site(stack="decoder", role=role, causal=True, layer=0, depth=2, make_norm=nn.LayerNorm)
    return replace(place, **changes)


def context(
    length: int,
    *,
    causal: bool = True,
    token_mask: Tensor | None = None,
    rotate: Callable[[Tensor], Tensor] = lambda x: x,
    bias: Callable[..., Any] = lambda q, k: None,
    memory: Memory | None = None,
) -> Context:
    """A forward pass over that many tokens: no documents, and positions that neither rotate nor add unless told.

    Args:
        length: tokens of a row (T).
        causal: whether tokens see the past only.
        token_mask: True at real tokens, [B, T].
        rotate: what turns queries and keys, [B, H, T, K].
        bias: what is added to the scores of positions.
        memory: an encoder's output.
    """
    positions = positions_in_rows(length, token_mask=token_mask, device=torch.device("cpu"))
    mask = Mask(q_positions=positions, k_positions=positions, causal=causal, k_token_mask=token_mask)
    return Context(mask=mask, rotate=rotate, bias=bias, token_mask_BT=token_mask, memory=memory)
