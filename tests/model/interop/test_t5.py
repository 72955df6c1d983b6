from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.interop import t5
from tests.model.configs import tokens
from tests.model.interop.pairs import assert_same, assert_same_pairs, pair

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "d_model": 32,
    "d_kv": 12,
    "d_ff": 48,
    "num_layers": 1,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "layer_norm_epsilon": 1e-3,
}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
SOURCE, TARGET = tokens(3, 30, vocab_size=61), tokens(3, 17, vocab_size=61, seed=1)


@pytest.mark.parametrize("options", [{}, GATED, GATED | {"feed_forward_proj": "gated-silu"}], ids=str)
@pytest.mark.parametrize("padded", [False, True])
def test_logits(options: dict[str, Any], padded: bool, tmp_path: Path) -> None:
    ours, theirs = pair(t5, T5ForConditionalGeneration(T5Config(**SIZES, **options)), tmp_path)
    lengths = ((30, 16, 2), (17, 17, 3)) if padded else None
    # Their norms are in float32 whatever the model's dtype.
    assert_same_pairs(ours, theirs, (SOURCE, TARGET), lengths, 1e-5)


def test_logits_in_float32(tmp_path: Path) -> None:
    ours, theirs = pair(t5, T5ForConditionalGeneration(T5Config(**SIZES)), tmp_path, torch.float32)
    assert_same(ours.head.logits(ours(SOURCE, TARGET).x), theirs(SOURCE, decoder_input_ids=TARGET).logits, 1e-5)


def test_an_output_projection_of_its_own(tmp_path: Path) -> None:
    """As the published weights of version 1.1 have it."""
    ours, theirs = pair(t5, T5ForConditionalGeneration(T5Config(**SIZES, **GATED)), tmp_path)
    state = theirs.state_dict() | {"lm_head.weight": 2 * theirs.shared.weight.detach()}
    states = ours(SOURCE, TARGET).x
    before = ours.head.logits(states)
    ours.load_state_dict(t5.weights(state))
    torch.testing.assert_close(ours.head.logits(states), 2 * before, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("config", "key", "choices"),
    [
        ({"feed_forward_proj": "gated-relu"}, "feed_forward_proj: 'gated-relu'", "'relu', 'gated-gelu', 'gated-silu'"),
        ({"feed_forward_proj": "relu", "tie_word_embeddings": False}, "tie_word_embeddings: False", "True"),
        ({"feed_forward_proj": "gated-gelu", "scale_decoder_outputs": True}, "scale_decoder_outputs: True", "False"),
    ],
)
def test_what_our_parts_cannot_follow_is_refused(config: dict[str, Any], key: str, choices: str) -> None:
    with pytest.raises(ConfigError) as raised:
        t5.config(SIZES | config)
    (problem,) = raised.value.problems
    assert problem == f"hf_config.{key} is not supported for t5. Choices: {choices}."
