from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from lightning_tx.model.interop import bert
from tests.model.configs import tokens
from tests.model.interop.pairs import assert_refused, assert_same, left_padding, pair, right_padding

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
}
IDS = tokens(3, 16, vocab_size=61)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("options", [{}, {"hidden_act": "gelu_new", "layer_norm_eps": 0.1, "type_vocab_size": 1}])
def test_states(options: dict[str, Any], dtype: torch.dtype, tolerance: float, tmp_path: Path) -> None:
    ours, theirs = pair(bert, BertModel(BertConfig(**SIZES, **options)), tmp_path, dtype)
    assert_same(ours(IDS).x, theirs(IDS).last_hidden_state, tolerance)


def test_padding_on_the_right(tmp_path: Path) -> None:
    ours, theirs = pair(bert, BertModel(BertConfig(**SIZES)), tmp_path)
    mask = right_padding(16, 9, 3)
    expected = theirs(IDS, attention_mask=mask.long()).last_hidden_state
    assert_same(ours(IDS, token_mask_BT=mask).x[mask], expected[mask], 1e-10)


def test_padding_on_the_left_with_positions_that_count_it(tmp_path: Path) -> None:
    ours, theirs = pair(bert, BertModel(BertConfig(**SIZES)), tmp_path)
    mask = left_padding(16, 9, 3)
    found = ours(IDS, token_mask_BT=mask, positions_BT=torch.arange(16)[None].expand(3, -1)).x
    assert_same(found[mask], theirs(IDS, attention_mask=mask.long()).last_hidden_state[mask], 1e-10)


def test_what_a_model_with_a_head_has_of_it(tmp_path: Path) -> None:
    """Under the names of the oldest checkpoints, too."""
    ours, theirs = pair(bert, BertForMaskedLM(BertConfig(**SIZES)), tmp_path)
    expected = theirs.bert(IDS).last_hidden_state
    assert_same(ours(IDS).x, expected, 1e-10)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in theirs.state_dict().items()
    }
    assert old.keys() != theirs.state_dict().keys()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    ours.load_state_dict(bert.weights(old))
    assert_same(ours(IDS).x, expected, 1e-10)


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("hidden_act", "tanh", "'gelu', 'gelu_new', "),
        ("position_embedding_type", "relative_key", "'absolute'"),
        ("is_decoder", True, "False"),
        ("add_cross_attention", True, "False"),
    ],
)
def test_what_our_parts_cannot_follow_is_refused(option: str, value: Any, choices: str) -> None:
    assert_refused(bert, BertConfig(**SIZES).to_dict(), option, value, choices)
