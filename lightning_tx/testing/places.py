"""Sizes, a place and a context, for testing one component by itself."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lightning_tx.core.context import Context
from lightning_tx.core.dims import Dims, Role, Site
from lightning_tx.core.masks import Mask, positions_in_rows

_DIMS = Dims(
    d_model=16,
    num_heads=4,
    head_dim=4,
    d_ff=24,
    encoder_layers=0,
    decoder_layers=2,
    vocab_size=64,
    max_seq_len=32,
    dropout=0.0,
)


def dims(**changes: Any) -> Dims:
    """The sizes of a small decoder, but for the changes."""
    return replace(_DIMS, **changes)


def site(role: Role, **changes: Any) -> Site:
    """The first of two layers of a decoder, or what the changes make of it."""
    return replace(Site(stack="decoder", role=role, causal=True, layer=0, depth=2, make_norm=nn.LayerNorm), **changes)


def context(length: int, *, causal: bool = True) -> Context:
    """A forward pass over that many tokens: no padding, no documents, positions that neither rotate nor add."""
    positions = positions_in_rows(length, device=torch.device("cpu"))
    mask = Mask(q_positions=positions, k_positions=positions, causal=causal)
    return Context(mask=mask, rotate=lambda x: x, bias=lambda q, k: None)
