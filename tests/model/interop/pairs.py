"""A model of transformers and ours with its weights, by way of the folder it would be saved to."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_tx.model.build import build_model
from tests.model.configs import scrambled


def pair(family: ModuleType, reference: nn.Module, folder: Path, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    """Ours and theirs, every trained parameter of theirs random and none of them small; in evaluation mode."""
    fixed = {name: value.clone() for name, value in reference.named_parameters() if not value.requires_grad}
    theirs: Any = scrambled(reference, std=0.2)
    theirs.load_state_dict(fixed, strict=False)
    theirs.to(dtype).eval()
    theirs.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    ours = build_model(family.config(config)).to(dtype).eval()
    ours.load_state_dict(family.weights(load_file(folder / "model.safetensors")))
    return ours, theirs


def assert_same(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal up to a tolerance, and far from a result that anything would give."""
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def left_padding(*lengths: int) -> Tensor:
    """True at real tokens, in rows of these lengths that end together."""
    return torch.arange(max(lengths))[None] >= max(lengths) - torch.tensor(lengths)[:, None]


def right_padding(*lengths: int) -> Tensor:
    """True at real tokens, in rows of these lengths that start together."""
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def positions(token_mask: Tensor) -> Tensor:
    """The number of real tokens before each."""
    return (token_mask.long().cumsum(dim=1) - 1).clamp(min=0)
