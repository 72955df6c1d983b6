"""Runs keep their identity: a config has the hash that it has in every store, however the code is arranged."""

from typing import Any

import pytest

from lightning_tx.cli.compose import compose
from lightning_tx.groups import GROUPS
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.identity import identity

ROTARY = {"base": 10_000.0, "pairing": "half", "fraction": 1.0}
CLEANING = {"normalize": "NFC", "strip_html": False, "strip_urls": False, "core_characters": False, "lowercase": False}
FILTERS = {"min_words": 1, "max_words": None, "max_ratio": None, "subset": None}
SIZES = {"d_model": 128, "num_heads": 4, "head_dim": None, "d_ff": None, "max_seq_len": 128, "dropout": 0.0}
EMBEDDING = {"vocab_size": None, "vocab_multiple": 64, "tie_embeddings": True, "output_bias": False}
START = {"embedding_scale": None, "embedding_norm": False, "embedding_std": None, "linear_std": None, "overrides": []}
PAIRS = CLEANING | FILTERS
MODEL = SIZES | EMBEDDING | START

#: By group: the options that a config names, none of which is a default, and those that it has besides.
SPELT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("positions", {"name": "rope"}, ROTARY),
    ("positions", {"name": "rope", "base": 500_000.0, "fraction": 0.5}, ROTARY),
    ("positions", {"name": "rope_linear", "pairing": "interleaved"}, ROTARY),
    ("positions", {"name": "rope_ntk", "factor": 8.0}, ROTARY),
    ("positions", {"name": "rope_yarn", "base": 500_000.0}, ROTARY),
    ("positions", {"name": "rope_llama3"}, ROTARY | {"base": 500_000.0}),
    ("positions", {"name": "rope_llama3", "base": 10_000.0}, ROTARY),
    ("feed_forward", {"name": "gelu"}, {"bias": False}),
    ("feed_forward", {"name": "swiglu", "bias": True}, {}),
    ("data", {"name": "parallel_files", "path": "x", "lowercase": True}, PAIRS),
    ("data", {"name": "hf_dataset", "path": "x", "normalize": "NFKC", "max_words": 9}, PAIRS),
    ("model", {"name": "decoder"}, MODEL | {"num_layers": 4}),
    ("model", {"name": "encoder", "num_layers": 2, "dropout": 0.1}, MODEL),
    (
        "model",
        {"name": "encoder_decoder", "num_encoder_layers": 2, "head_dim": 16},
        MODEL | {"share_embeddings": True},
    ),
]


#: The identity of whole runs on unread data.
KNOWN: list[tuple[list[str], str]] = [
    ([], "bd388509aee241e0"),
    (["positions=alibi", "attention=gqa", "seed=3"], "dca0ea6af2650326"),
    (["experiment=translation", "decoding=beam"], "729cecab0d2a0be1"),
    (["adapter=lora", "model.overrides=[{layers: 0, feed_forward: {name: gelu}}]"], "7b69a9e0f5f8adcf"),
]


@pytest.mark.parametrize(("group", "named", "defaults"), SPELT)
def test_options_at_their_defaults_do_not_count(group: str, named: dict[str, Any], defaults: dict[str, Any]) -> None:
    assert GROUPS[group].parse(named).essential() == named
    assert GROUPS[group].parse(defaults | named).essential() == named


@pytest.mark.parametrize(("words", "known"), KNOWN)
def test_a_run_has_the_identity_it_always_had(words: list[str], known: str) -> None:
    assert identity(RunConfig.parse(compose(words))) == known


@pytest.mark.parametrize(
    ("words", "unread"),
    [
        (["attention=none"], ["pattern=local", "positions=rope", "model.num_heads=8"]),
        (["attention=none", "block=rezero"], ["norm=layernorm"]),
        (["feed_forward=none"], ["model.d_ff=77"]),
        (["model.overrides=[{attention: none}]"], ["attention=gqa", "pattern=local"]),
        ([], ["decoding=beam", "decoding.num_beams=9 decoding=beam"]),
    ],
)
def test_what_nothing_reads_makes_no_other_run(words: list[str], unread: list[str]) -> None:
    plain = identity(RunConfig.parse(compose(words)))
    for more in unread:
        assert identity(RunConfig.parse(compose([*words, *more.split()]))) == plain


@pytest.mark.parametrize(
    ("words", "read"),
    [
        # Added to the embeddings, whoever looks at them.
        (["attention=none"], ["positions=sinusoidal", "norm=layernorm"]),
        (["attention=none", "block=rezero"], ["model.embedding_norm=true"]),
        (["attention=none", "block=rezero", "model.embedding_norm=true"], ["norm=layernorm"]),
        (["model.overrides=[{layers: 0, attention: none}]"], ["attention=gqa", "pattern=local", "model.num_heads=8"]),
        (["feed_forward=none"], ["model.num_heads=8"]),
        (["experiment=translation"], ["decoding=beam", "pattern=local"]),
    ],
)
def test_what_anything_reads_makes_another_run(words: list[str], read: list[str]) -> None:
    plain = identity(RunConfig.parse(compose(words)))
    for more in read:
        assert identity(RunConfig.parse(compose([*words, *more.split()]))) != plain
