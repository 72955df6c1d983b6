"""Every component goes with every other."""

import itertools
from typing import Any

import pytest

from lightning_tx.core import registry
from lightning_tx.model.build import build_model
from tests.model.configs import config, scrambled, tokens

ATTENTIONS: list[Any] = [
    "none",
    {},
    {"num_kv_heads": 2, "bias": True},
    {"num_kv_heads": 1, "qk_norm": True},
    {"name": "latent"},
]
TINY = {"d_model": 8, "d_ff": 8, "max_seq_len": 4, "vocab_size": 8, "vocab_multiple": 8}
DEPTHS = {
    "decoder": {"num_layers": 1},
    "encoder": {"num_layers": 1},
    "encoder_decoder": {"num_encoder_layers": 1, "num_decoder_layers": 1},
}


def pairwise(factors: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Few combinations among which each two choices of different factors meet."""
    levels = [range(len(options)) for options in factors.values()]
    choices = [(factor, level) for factor, options in enumerate(levels) for level in options]
    missing = {pair for pair in itertools.combinations(choices, 2) if pair[0][0] != pair[1][0]}
    found = []
    while missing:
        row = dict(min(missing))
        for factor, options in enumerate(levels):
            if factor not in row:
                row[factor] = max(options, key=lambda level: _count(missing, factor, level, row))
        missing -= set(itertools.combinations(sorted(row.items()), 2))
        found.append({name: options[row[factor]] for factor, (name, options) in enumerate(factors.items())})
    return found


def _count(missing: set[Any], factor: int, level: int, row: dict[int, int]) -> int:
    return sum(tuple(sorted([(factor, level), other])) in missing for other in row.items())


def combinations(attentions: list[Any]) -> list[dict[str, Any]]:
    groups = ("positions", "norm", "block", "feed_forward")
    return pairwise({"attention": attentions} | {group: registry.names(group) for group in groups})


@pytest.mark.parametrize("topology", DEPTHS)
def test_every_pair_of_components_builds(topology: str) -> None:
    for parts in combinations(ATTENTIONS):
        build_model(config(topology, sizes=TINY | DEPTHS[topology], **parts), device="meta")


@pytest.mark.parametrize("topology", DEPTHS)
def test_every_parameter_gets_a_finite_gradient(topology: str) -> None:
    # Without attention nothing reads an encoder.
    for parts in combinations(ATTENTIONS[1:] if topology == "encoder_decoder" else ATTENTIONS):
        if (parts["positions"], parts["attention"]) == ("t5_relative", "none"):
            continue  # nothing asks for the bias
        sizes = TINY | DEPTHS[topology] | {"tie_embeddings": False}
        model = scrambled(build_model(config(topology, sizes=sizes, **parts)))
        inputs = [tokens(2, 4, vocab_size=8, seed=seed) for seed in range(model.num_inputs)]
        model.logits(model(*inputs).x).log_softmax(dim=-1)[..., 0].mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, (parts, name)
            assert parameter.grad.isfinite().all(), (parts, name)
            # The softmax does not see what is added to all keys alike.
            assert parameter.grad.any() or name.endswith(("k_proj.bias", "k_norm.bias")), (parts, name)
