from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MarianConfig, MarianMTModel

from lightning_tx.model.interop import marian
from tests.model.configs import tokens
from tests.model.interop.pairs import assert_refused, assert_same, assert_same_pairs, pair

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
SOURCE, TARGET = tokens(3, 11, vocab_size=61), tokens(3, 7, vocab_size=61, seed=1)


def reference(**options: Any) -> MarianMTModel:
    theirs = MarianMTModel(MarianConfig(**SIZES, **options))
    theirs.final_logits_bias.normal_(generator=torch.Generator().manual_seed(0))
    return theirs


def with_exact_positions(theirs: Any) -> Any:
    """Their table of sines and cosines anew in float64: they make it in float32."""
    exponent = torch.arange(0, 32, 2, dtype=torch.float64) / 32
    angle = torch.arange(16)[:, None] / 10_000**exponent
    for stack in (theirs.model.encoder, theirs.model.decoder):
        table = torch.cat([angle.sin(), angle.cos()], dim=1)
        torch.testing.assert_close(stack.embed_positions.weight, table, rtol=0, atol=1e-6, check_dtype=False)
        stack.embed_positions.weight.copy_(table)
    return theirs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale_embedding": True, "activation_function": "swish"},
        {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 53},
    ],
    ids=str,
)
@pytest.mark.parametrize("padded", [False, True])
def test_logits(options: dict[str, Any], padded: bool, tmp_path: Path) -> None:
    ours, theirs = pair(marian, reference(**options), tmp_path)
    theirs, target = with_exact_positions(theirs), TARGET % 53
    lengths = ((11, 6, 2), (7, 7, 3)) if padded else None
    assert_same_pairs(ours, theirs, (SOURCE, target), lengths, 1e-10)


def test_logits_in_float32(tmp_path: Path) -> None:
    ours, theirs = pair(marian, reference(), tmp_path, torch.float32)
    assert_same(ours.head.logits(ours(SOURCE, TARGET).x), theirs(SOURCE, decoder_input_ids=TARGET).logits, 1e-5)


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("activation_function", "tanh", "'gelu', 'gelu_new', "),
        ("decoder_attention_heads", 8, "4"),
        ("decoder_ffn_dim", 64, "48"),
        ("normalize_before", True, "False"),
        ("static_position_embeddings", False, "True"),
        ("activation_dropout", 0.1, "0.0"),
        ("encoder_layerdrop", 0.1, "0.0"),
    ],
)
def test_what_our_parts_cannot_follow_is_refused(option: str, value: Any, choices: str) -> None:
    assert_refused(marian, MarianConfig(**SIZES).to_dict(), option, value, choices)
