"""Stochastic depth, an option of every block that has a residual."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_tx.components.block.base import BLOCK, Block
from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from lightning_tx.testing.places import DIMS, context, dims, site
from lightning_tx.testing.values import randomise
from tests.model.configs import config, tokens

BLOCKS = sorted(set(BLOCK.names()) - {"no_residual"})
ROWS, T, D = 4000, 2, DIMS.d_model


class Cube(Sublayer):
    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        return Output(x_BTD**3)


def block(name: str, layer: int, depth: int, **options: Any) -> Block:
    built = BLOCK.create(
        {"name": name, **options},
        dims(),
        site("block", layer=layer, depth=depth),
        {"feed_forward": Cube()},
        nn.LayerNorm,
    )
    randomise(built, std=0.5)
    return built.double()


def entered(built: Block, rows: int) -> Tensor:
    x = torch.randn(1, T, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return built.enter(x.expand(rows, -1, -1))


def without_branch(built: Block, x: Tensor) -> Tensor:
    """The layer of a sublayer whose contribution is zero."""
    built.contribution = lambda y, role: torch.zeros_like(y)  # type: ignore[method-assign]
    try:
        return built.eval()(x, context(T)).x
    finally:
        del built.contribution


@pytest.mark.parametrize("name", BLOCKS)
def test_a_row_loses_its_branch_or_has_it_in_full(name: str) -> None:
    built = block(name, layer=1, depth=4, stochastic_depth=0.6)
    x = entered(built, ROWS)
    torch.manual_seed(0)
    with torch.no_grad():
        found = built.train()(x, context(T)).x
        dropped = without_branch(built, x[:1])
    gone = (found - dropped).abs().flatten(1).amax(dim=1) < 1e-12
    share = gone.double().mean().item()
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / ROWS) ** 0.5  # half of the layers up to this one: half of 0.6
    kept = found[~gone]
    torch.testing.assert_close(kept, kept[:1].expand_as(kept), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["pre_norm", "sandwich", "parallel", "rezero", "hyper_connections"])
def test_the_mean_over_what_is_dropped_is_the_evaluation(name: str) -> None:
    built = block(name, layer=3, depth=4, stochastic_depth=0.25)
    x = entered(built, 1)
    with torch.no_grad():
        kept = full = built.eval()(x, context(T)).x
        dropped = without_branch(built, x)
        torch.manual_seed(0)
        for found in (built.train()(x, context(T)).x for _ in range(50)):
            kept = found if (found - dropped).abs().max() > 1e-9 else kept
    torch.testing.assert_close(0.75 * kept + 0.25 * dropped, full, rtol=0, atol=1e-9)


def test_it_grows_with_depth_and_is_full_in_the_last_layer() -> None:
    model: Any = build_model(config(sizes={"num_layers": 4}, block={"stochastic_depth": 0.5}), device="meta")
    assert [layer.stochastic_depth.p for layer in model.stack.layers] == [0.125, 0.25, 0.375, 0.5]


def test_at_zero_nothing_is_drawn() -> None:
    built = block("pre_norm", layer=1, depth=2)
    before = torch.get_rng_state()
    built.train()(entered(built, 3), context(T))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_run_s_generator_draws_it() -> None:
    model = build_model(config(block={"stochastic_depth": 0.5})).train()
    ids = tokens(8, 5)
    first, second, third = (torch.manual_seed(seed) and model(ids).x for seed in (0, 1, 0))
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


def test_without_a_residual_there_is_none() -> None:
    with pytest.raises(ConfigError, match="stochastic_depth"):
        BLOCK.parse({"name": "no_residual", "stochastic_depth": 0.1})
