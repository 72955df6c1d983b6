"""Pure attention loses rank doubly exponentially with depth; residual connections prevent it.

Source: Dong et al. 2021, Attention is not all you need, arXiv:2103.03404, theorem 2.2 and section 4.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lightning_tx.model.build import build_model
from lightning_tx.testing.places import context
from tests.model.configs import config, tokens

DEPTH, LENGTH = 12, 32
SIZES = {"d_model": 64, "num_layers": DEPTH, "vocab_size": 64}


def distance_from_rank_one(x_BTD: Tensor) -> float:
    """How much of the states is left without their mean token, relative, in the paper's norm; mean over the batch."""
    difference = x_BTD - x_BTD.mean(dim=1, keepdim=True)

    def norm(m_BTD: Tensor) -> Tensor:
        return (m_BTD.abs().sum(dim=1).amax(dim=-1) * m_BTD.abs().sum(dim=2).amax(dim=-1)).sqrt()

    return (norm(difference) / norm(x_BTD)).mean().item()


def distances(block: str, feed_forward: str = "none") -> list[float]:
    """That of the embedding and of each layer's states, at initialisation."""
    parts = {"positions": "none", "block": block, "feed_forward": feed_forward}
    model = build_model(config("encoder", sizes=SIZES, **parts)).double()
    x_BTD, ctx = model.embed(tokens(8, LENGTH, vocab_size=64)), context(LENGTH, causal=False)
    found = [distance_from_rank_one(x_BTD)]
    for layer in model.stack.layers:
        x_BTD = layer(x_BTD, ctx).x
        found.append(distance_from_rank_one(x_BTD))
    return found


def test_without_residual_the_number_of_lost_digits_multiplies_from_layer_to_layer() -> None:
    found = distances("no_residual")
    digits = [-math.log10(distance) for distance in found[2:5]]
    # The theorem's rate: the distance is cubed, up to a constant factor.
    assert [after / before for before, after in itertools.pairwise(digits)] == pytest.approx([3, 3], abs=0.5)
    assert max(found[5:]) < 1e-14


def test_a_feed_forward_alone_does_not_prevent_it() -> None:
    assert max(distances("no_residual", feed_forward="relu")[6:]) < 1e-14


@pytest.mark.parametrize("block", ["pre_norm", "post_norm", "sandwich", "parallel", "rezero", "deepnorm"])
def test_with_residual_rank_stays(block: str) -> None:
    assert min(distances(block)) > 0.05


def test_the_measure() -> None:
    same = torch.ones(2, 5, 3) * torch.tensor([1.0, -2.0, 3.0])
    assert distance_from_rank_one(same) == pytest.approx(0, abs=1e-6)
    assert distance_from_rank_one(torch.eye(4)[None]) > 0.8
