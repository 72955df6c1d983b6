from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.interop import llama
from tests.model.configs import tokens
from tests.model.interop.pairs import assert_same, assert_same_padded_on_the_left, pair

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-3,
}
ROPE = {"rope_type": "default", "rope_theta": 500.0}
IDS = tokens(3, 24, vocab_size=61)
#: Their norms and angles are in float32 whatever the model's dtype.
TOLERANCE = 1e-5


def reference(**options: Any) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**SIZES | {"rope_parameters": ROPE} | options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_key_value_heads": 1, "head_dim": 16},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "hidden_act": "gelu"},
    ],
    ids=str,
)
def test_logits(options: dict[str, Any], tmp_path: Path) -> None:
    ours, theirs = pair(llama, reference(**options), tmp_path)
    assert_same(ours.head.logits(ours(IDS).x), theirs(IDS).logits, TOLERANCE)


def test_logits_in_float32(tmp_path: Path) -> None:
    ours, theirs = pair(llama, reference(), tmp_path, torch.float32)
    assert_same(ours.head.logits(ours(IDS).x), theirs(IDS).logits, TOLERANCE)


STRETCHED = {"factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 500.0}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0},
        {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 3.0, **STRETCHED},
        {"rope_type": "yarn", **STRETCHED},
        {"rope_type": "yarn", "truncate": False, **STRETCHED},
        {"rope_type": "yarn", "beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 1.2, **STRETCHED},
    ],
    ids=str,
)
def test_stretched_positions(rope: dict[str, Any], tmp_path: Path) -> None:
    ours, theirs = pair(llama, reference(rope_parameters=rope), tmp_path)
    assert_same(ours.head.logits(ours(IDS).x), theirs(IDS).logits, TOLERANCE)
    plain = reference().double().eval()
    plain.load_state_dict(theirs.state_dict())
    assert not torch.allclose(plain(IDS).logits, theirs(IDS).logits, atol=0.01)


def test_left_padding(tmp_path: Path) -> None:
    ours, theirs = pair(llama, reference(), tmp_path)
    assert_same_padded_on_the_left(ours, theirs, IDS, (24, 9, 3), TOLERANCE)


def test_packed_rows(tmp_path: Path) -> None:
    ours, theirs = pair(llama, reference(), tmp_path)
    documents = torch.tensor([[0] * 9 + [1] * 15, [0] * 24, [0] * 3 + [1] * 1 + [2] * 20])
    within = (documents[:, :, None] == documents[:, None, :]) & torch.ones(24, 24).bool().tril()
    starts = torch.tensor([[0] * 9 + [9] * 15, [0] * 24, [0] * 3 + [3] + [4] * 20])
    hidden = torch.zeros(3, 1, 24, 24, dtype=torch.float64).masked_fill(~within[:, None], float("-inf"))
    expected = theirs(IDS, attention_mask=hidden, position_ids=torch.arange(24)[None] - starts).logits
    assert_same(ours.head.logits(ours(IDS, documents_BT=documents).x), expected, TOLERANCE)


@pytest.mark.parametrize(
    "old",
    [
        {"rope_theta": 500.0},
        {"rope_theta": 500.0, "rope_scaling": None},
        {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_theta": 500.0, "rope_scaling": {"type": "yarn", "rope_type": "yarn", "factor": 4.0}},
    ],
    ids=str,
)
def test_the_older_way_of_describing_positions(old: dict[str, Any]) -> None:
    scaling = old.get("rope_scaling") or {}
    kind = scaling.get("type", "default")
    new = {"rope_parameters": {"rope_type": kind, "rope_theta": 500.0} | {k: v for k, v in scaling.items() if "t" in k}}
    new["rope_parameters"].pop("type", None)
    assert llama.config(SIZES | old) == llama.config(SIZES | new)


@pytest.mark.parametrize(
    ("option", "value", "key", "choices"),
    [
        ("hidden_act", "relu", "hidden_act", "'silu', 'swish', 'gelu'"),
        ("sliding_window", 4096, "sliding_window", "missing or null"),
        (
            "rope_parameters",
            {"rope_type": "dynamic", "factor": 2.0},
            "rope_parameters.rope_type",
            "'default', 'linear'",
        ),
        ("rope_parameters", {"rope_type": "linear"}, "rope_parameters.factor", "'a number'"),
        ("rope_parameters", ROPE | {"partial_rotary_factor": 0.5}, "rope_parameters.partial_rotary_factor", "1.0"),
        ("rope_parameters", ROPE | {"mscale": 0.5}, "rope_parameters.mscale", "missing or null"),
        ("partial_rotary_factor", 0.5, "partial_rotary_factor", "1.0"),
    ],
)
def test_what_our_parts_cannot_follow_is_refused(option: str, value: Any, key: str, choices: str) -> None:
    with pytest.raises(ConfigError) as raised:
        llama.config(LlamaConfig(**SIZES).to_dict() | {option: value})
    problem = raised.value.problems[0]
    assert problem.startswith(f"hf_config.{key}: ")
    assert f"is not supported for llama. Choices: {choices}" in problem
