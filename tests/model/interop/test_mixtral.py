from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from lightning_tx.model.interop import mixtral
from tests.model.configs import tokens
from tests.model.interop.pairs import assert_refused, assert_same, assert_same_padded_on_the_left, pair

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "num_local_experts": 6,
}
IDS = tokens(3, 24, vocab_size=61)
#: Their norms, angles and routers are in float32 whatever the model's dtype.
TOLERANCE = 1e-5


def reference(**options: Any) -> MixtralForCausalLM:
    config = MixtralConfig(**SIZES | options)
    config._experts_implementation = "eager"  # the others do not know float64
    return MixtralForCausalLM(config)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("top_k", [2, 3])
def test_logits(top_k: int, dtype: torch.dtype, tmp_path: Path) -> None:
    ours, theirs = pair(mixtral, reference(num_experts_per_tok=top_k), tmp_path, dtype)
    assert_same(ours.head.logits(ours(IDS).x), theirs(IDS).logits, TOLERANCE)


def test_left_padding(tmp_path: Path) -> None:
    ours, theirs = pair(mixtral, reference(), tmp_path)
    assert_same_padded_on_the_left(ours, theirs, IDS, (24, 9, 3), TOLERANCE)


def test_a_state_dict_stacks_the_experts_that_a_file_has_one_by_one(tmp_path: Path) -> None:
    ours, theirs = pair(mixtral, reference(), tmp_path)
    found = mixtral.weights(theirs.state_dict())
    assert found.keys() == ours.state_dict().keys()
    for name, value in ours.state_dict().items():
        assert torch.equal(found[name], value), name


def test_an_even_load_costs_what_it_costs_there() -> None:
    config = MixtralConfig(**SIZES, router_aux_loss_coef=0.5)
    assert mixtral.config(config.to_dict())["feed_forward"]["load_balance"] == 0
    config.output_router_logits = True
    per_layer = mixtral.config(config.to_dict())["feed_forward"]["load_balance"]
    theirs = MixtralForCausalLM(config)
    with torch.no_grad():
        for layer in theirs.model.layers:
            layer.mlp.gate.weight.zero_()  # all experts are equally likely
    assert 0.5 * theirs(IDS).aux_loss.item() == pytest.approx(2 * per_layer, rel=1e-5)


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("hidden_act", "relu", "'silu', "),
        ("sliding_window", 4096, "missing or null"),
        ("router_jitter_noise", 0.1, "0.0"),
        ("num_experts_per_tok", 1, "'2 or more'"),
    ],
)
def test_what_our_parts_cannot_follow_is_refused(option: str, value: Any, choices: str) -> None:
    assert_refused(mixtral, MixtralConfig(**SIZES).to_dict(), option, value, choices)
