from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from lightning_tx.model.interop import gpt2
from tests.model.configs import tokens
from tests.model.interop.pairs import assert_refused, assert_same, assert_same_padded_on_the_left, pair

SIZES = {"vocab_size": 61, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4}
IDS = tokens(3, 16, vocab_size=61)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
def test_logits(dtype: torch.dtype, tolerance: float, tmp_path: Path) -> None:
    ours, theirs = pair(gpt2, GPT2LMHeadModel(GPT2Config(**SIZES)), tmp_path, dtype)
    assert_same(ours.head.logits(ours(IDS).x), theirs(IDS).logits, tolerance)


def test_other_options(tmp_path: Path) -> None:
    options = {"n_inner": 40, "activation_function": "relu", "layer_norm_epsilon": 0.1, "tie_word_embeddings": False}
    ours, theirs = pair(gpt2, GPT2LMHeadModel(GPT2Config(**SIZES, **options)), tmp_path)
    assert ours.lm_head.weight is not ours.token_embedding.weight
    assert_same(ours.head.logits(ours(IDS).x), theirs(IDS).logits, 1e-10)


def test_left_padding(tmp_path: Path) -> None:
    ours, theirs = pair(gpt2, GPT2LMHeadModel(GPT2Config(**SIZES)), tmp_path)
    assert_same_padded_on_the_left(ours, theirs, IDS, (16, 9, 3), 1e-10)


def test_the_model_without_a_head(tmp_path: Path) -> None:
    """As the published weights are stored: without a prefix, with masks."""
    ours, theirs = pair(gpt2, GPT2Model(GPT2Config(**SIZES)), tmp_path)
    assert_same(ours(IDS).x, theirs(IDS).last_hidden_state, 1e-10)
    masks = {f"h.{layer}.attn.{name}": torch.ones(1) for layer in range(2) for name in ("bias", "masked_bias")}
    ours.load_state_dict(gpt2.weights(theirs.state_dict() | masks))


def test_a_state_dict_is_taken_as_well_and_nothing_is_copied() -> None:
    theirs = GPT2LMHeadModel(GPT2Config(**SIZES))
    found = gpt2.weights(theirs.state_dict())
    build_model(gpt2.config(theirs.config.to_dict())).load_state_dict(found)
    found["stack.layers.1.sublayers.self_attention.k_proj.weight"].fill_(7)
    assert theirs.transformer.h[1].attn.c_attn.weight[:, 32:64].eq(7).all()


def test_the_initialisation_is_that_of_gpt2() -> None:
    """Standard deviations, of which transformers has the same."""
    config = GPT2Config(**SIZES | {"n_embd": 64, "vocab_size": 500, "n_positions": 200}, initializer_range=0.1)
    torch.manual_seed(0)
    theirs = gpt2.weights(GPT2LMHeadModel(config).state_dict())
    for name, value in build_model(gpt2.config(config.to_dict())).state_dict().items():
        if value.ndim == 2:
            assert value.std().item() == pytest.approx(theirs[name].std().item(), rel=0.05), name
        else:
            assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("activation_function", "tanh", "'gelu', 'gelu_new', "),
        ("scale_attn_weights", False, "True"),
        ("scale_attn_by_inverse_layer_idx", True, "False"),
        ("add_cross_attention", True, "False"),
        ("embd_pdrop", 0.3, "0.1"),
        ("model_type", "llama", "'gpt2'"),
        ("quantization_config", {"bits": 4}, "missing or null"),
        ("from_the_future", 3, "missing or null"),
    ],
)
def test_what_our_parts_cannot_follow_is_refused(option: str, value: Any, choices: str) -> None:
    assert_refused(gpt2, GPT2Config(**SIZES).to_dict(), option, value, choices)


def test_all_that_is_refused_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        gpt2.config({"activation_function": "tanh", "scale_attn_weights": False, "switched_off": None, "no": False})
    assert len(raised.value.problems) == 2


def test_a_tensor_of_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^hf_weights\.score\.weight: "):
        gpt2.weights(GPT2LMHeadModel(GPT2Config(**SIZES)).state_dict() | {"score.weight": torch.ones(2, 32)})
