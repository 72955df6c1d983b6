"""Every component goes with every other."""

import itertools
from typing import Any

import pytest

from lightning_tx.core import registry
from lightning_tx.model.build import build_model
from tests.model.configs import config, scrambled, tokens

ATTENTIONS: list[Any] = ["none", {}, {"num_kv_heads": 2, "bias": True}, {"num_kv_heads": 1}]
TINY = {"d_model": 8, "d_ff": 8, "max_seq_len": 4, "vocab_size": 8, "vocab_multiple": 8}
DEPTHS = {
    "decoder": {"num_layers": 1},
    "encoder": {"num_layers": 1},
    "encoder_decoder": {"num_encoder_layers": 1, "num_decoder_layers": 1},
}


def combinations(*groups: str) -> list[tuple[str, ...]]:
    return list(itertools.product(*(registry.names(group) for group in groups)))


def pairs(factors: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Combinations among which each two choices of different factors meet."""
    found = []
    for one, other in itertools.combinations(factors, 2):
        for index, chosen in enumerate(itertools.product(factors[one], factors[other])):
            others = {name: options[index % len(options)] for name, options in factors.items()}
            found.append(others | dict(zip((one, other), chosen, strict=True)))
    return found


@pytest.mark.parametrize("topology", DEPTHS)
def test_every_pair_of_components_builds(topology: str) -> None:
    groups = ("positions", "norm", "block", "feed_forward")
    for parts in pairs({"attention": ATTENTIONS} | {group: registry.names(group) for group in groups}):
        build_model(config(topology, sizes=TINY | DEPTHS[topology], **parts), device="meta")


@pytest.mark.parametrize(("norm", "block"), combinations("norm", "block"))
@pytest.mark.parametrize("topology", DEPTHS)
def test_every_parameter_gets_a_finite_gradient(topology: str, norm: str, block: str) -> None:
    # A Latin square: each choice of positions and of feed-forward meets each kind of attention.
    for (i, positions), (j, feed_forward) in itertools.product(
        enumerate(registry.names("positions")), enumerate(registry.names("feed_forward"))
    ):
        attention = ATTENTIONS[(i + j) % len(ATTENTIONS)]
        if topology == "encoder_decoder" and attention == "none":
            continue  # nothing reads the encoder
        parts = {"positions": positions, "norm": norm, "block": block, "feed_forward": feed_forward}
        sizes = TINY | DEPTHS[topology] | {"tie_embeddings": False}
        model = scrambled(build_model(config(topology, sizes=sizes, attention=attention, **parts)))
        inputs = [tokens(2, 4, vocab_size=8, seed=seed) for seed in range(model.num_inputs)]
        model.logits(model(*inputs).x).log_softmax(dim=-1)[..., 0].mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, (parts, attention, name)
            assert parameter.grad.isfinite().all(), (parts, attention, name)
            # The softmax does not see what is added to all keys alike.
            assert parameter.grad.any() or name.endswith("k_proj.bias"), (parts, attention, name)
