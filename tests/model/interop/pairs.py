"""A model of transformers and ours with its weights, by way of the folder it would be saved to."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from lightning_tx.testing.values import randomise


def pair(family: ModuleType, reference: nn.Module, folder: Path, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    """Ours and theirs, every trained parameter of theirs random and none of them small; in evaluation mode."""
    fixed = {name: value.clone() for name, value in reference.named_parameters() if not value.requires_grad}
    theirs: Any = randomise(reference, std=0.2)
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


def assert_same_padded_on_the_left(
    ours: Any, theirs: Any, ids: Tensor, lengths: Sequence[int], tolerance: float
) -> None:
    """The logits of two decoders at real tokens, in rows of these lengths that end together."""
    mask = left_padding(*lengths)
    found = ours.head.logits(ours(ids, token_mask_BT=mask).x)
    expected = theirs(ids, attention_mask=mask.long(), position_ids=positions(mask)).logits
    assert_same(found[mask], expected[mask], tolerance)


def assert_same_pairs(
    ours: Any, theirs: Any, ids: tuple[Tensor, Tensor], lengths: Sequence[Sequence[int]] | None, tolerance: float
) -> None:
    """The logits of two encoder-decoders for sources and targets; ``lengths`` of both, where they are padded."""
    source, target = ids
    real = [torch.ones(each.shape).bool() for each in ids] if lengths is None else [right_padding(*n) for n in lengths]
    expected = theirs(
        source, attention_mask=real[0].long(), decoder_input_ids=target, decoder_attention_mask=real[1].long()
    ).logits
    masks = {} if lengths is None else {"source_token_mask_BS": real[0], "token_mask_BT": real[1]}
    found = ours.head.logits(ours(source, target, **masks).x)
    assert_same(found[real[1]], expected[real[1]], tolerance)


def assert_refused(family: ModuleType, config: dict[str, Any], option: str, value: Any, choices: str) -> None:
    """One option that our parts cannot follow is the one problem, named with its value and the choices."""
    with pytest.raises(ConfigError) as raised:
        family.config(config | {option: value})
    (problem,) = raised.value.problems
    name = family.__name__.rpartition(".")[2]
    assert problem.startswith(f"hf_config.{option}: {value!r} is not supported for {name}. Choices: {choices}")


def left_padding(*lengths: int) -> Tensor:
    """True at real tokens, in rows of these lengths that end together."""
    return torch.arange(max(lengths))[None] >= max(lengths) - torch.tensor(lengths)[:, None]


def right_padding(*lengths: int) -> Tensor:
    """True at real tokens, in rows of these lengths that start together."""
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def positions(token_mask: Tensor) -> Tensor:
    """The number of real tokens before each."""
    return (token_mask.long().cumsum(dim=1) - 1).clamp(min=0)
