"""Configs of small models."""

from typing import Any

import torch
from torch import Tensor

from lightning_tx.model.build import build_model
from lightning_tx.testing.values import randomise

SIZES = {"d_model": 16, "num_heads": 4, "d_ff": 24, "max_seq_len": 16, "vocab_size": 50}
DEPTHS = {
    "decoder": {"num_layers": 2},
    "encoder": {"num_layers": 2},
    "encoder_decoder": {"num_encoder_layers": 2, "num_decoder_layers": 2},
}
PARTS = {
    "positions": "rope",
    "attention": "multi_head",
    "pattern": "full",
    "norm": "layernorm",
    "block": "pre_norm",
    "feed_forward": "gelu",
}


def config(topology: str = "decoder", *, sizes: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    """A model's config: ``sizes`` go to the model, ``parts`` are a name or a mapping by group."""
    named = {
        group: {"name": part} if isinstance(part, str) else {"name": PARTS.get(group)} | part
        for group, part in (PARTS | parts).items()
    }
    return {"model": {"name": topology, **SIZES, **DEPTHS[topology], **(sizes or {})}, **named}


def small_model(topology: str = "decoder", **parts: Any) -> Any:
    """A model in float64, every parameter random and none of them small; in evaluation mode."""
    return randomise(build_model(config(topology, **parts)).double()).eval()


def tokens(*shape: int, vocab_size: int = 50, seed: int = 0) -> Tensor:
    return torch.randint(0, vocab_size, shape, generator=torch.Generator().manual_seed(seed))
