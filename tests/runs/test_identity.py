"""Runs keep their identity: a config has the hash that it has in every store, however the code is arranged."""

from typing import Any

import pytest

from lightning_tx.runs.identity import identity

ROTARY = {"base": 10_000.0, "pairing": "half", "fraction": 1.0}
CLEANING = {"normalize": "NFC", "strip_html": False, "strip_urls": False, "core_characters": False, "lowercase": False}
FILTERS = {"min_words": 1, "max_words": None, "max_ratio": None, "subset": None}
SIZES = {"d_model": 128, "num_heads": 4, "head_dim": None, "d_ff": None, "max_seq_len": 128, "dropout": 0.0}
EMBEDDING = {"vocab_size": None, "vocab_multiple": 64, "tie_embeddings": True, "output_bias": False}
START = {"embedding_scale": None, "embedding_norm": False, "embedding_std": None, "linear_std": None, "overrides": []}
PAIRS = CLEANING | FILTERS
MODEL = SIZES | EMBEDDING | START

#: By group: the options that a config names, those that it has besides at their defaults, and its identity.
KNOWN: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("positions", {"name": "rope"}, ROTARY, "302f329e4fa530f7"),
    ("positions", {"name": "rope", "base": 500_000.0, "fraction": 0.5}, ROTARY, "91fe837415098a4e"),
    ("positions", {"name": "rope_linear", "pairing": "interleaved"}, ROTARY, "be9aa794a01e9450"),
    ("positions", {"name": "rope_ntk", "factor": 8.0}, ROTARY, "d2fc2544033e798e"),
    ("positions", {"name": "rope_yarn", "base": 500_000.0}, ROTARY, "2a4e46a708407e7b"),
    ("positions", {"name": "rope_llama3"}, ROTARY | {"base": 500_000.0}, "e4fafca4f58b60d8"),
    ("positions", {"name": "rope_llama3", "base": 10_000.0}, ROTARY, "13bc7e1a7dfe3f00"),
    ("feed_forward", {"name": "gelu"}, {"bias": False}, "52255ab443d26fbd"),
    ("feed_forward", {"name": "swiglu", "bias": True}, {}, "afa75c114459d09c"),
    ("data", {"name": "parallel_files", "path": "x", "lowercase": True}, PAIRS, "9e35938d0b27e993"),
    ("data", {"name": "hf_dataset", "path": "x", "normalize": "NFKC", "max_words": 9}, PAIRS, "5ad66c432d25c44b"),
    ("model", {"name": "decoder"}, MODEL | {"num_layers": 4}, "d5d992b9436451b9"),
    ("model", {"name": "encoder", "num_layers": 2, "dropout": 0.1}, MODEL, "89e6cf12baeec8d4"),
    (
        "model",
        {"name": "encoder_decoder", "num_encoder_layers": 2, "head_dim": 16},
        MODEL | {"share_embeddings": True},
        "4a00cf1844707c52",
    ),
]


@pytest.mark.parametrize(("group", "named", "defaults", "known"), KNOWN)
def test_a_config_has_the_identity_it_always_had(
    group: str, named: dict[str, Any], defaults: dict[str, Any], known: str
) -> None:
    assert identity({group: named}) == known
    assert identity({group: defaults | named}) == known
