from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.block.base import Block
from lightning_tx.components.block.no_residual import NoResidual
from lightning_tx.components.block.post_norm import PostNorm
from lightning_tx.components.block.pre_norm import PreNorm
from lightning_tx.components.feed_forward.relu import ReLU
from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.dropout import Dropout
from tests.components.places import DIMS, context, dims, randomise, site

T, D = 6, DIMS.d_model


class Affine(Sublayer):
    """A sublayer that is easily written down, and that reports."""

    def __init__(self, name: str, factor: float) -> None:
        super().__init__()
        self.name, self.factor = name, factor

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        out = self.factor * x_BTD.roll(1, -1) + 1
        return Output(out, losses={self.name: (out.sum(), self.factor)}, stats={self.name: out.mean()})


def states() -> Tensor:
    return torch.randn(2, T, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def stub_block(block: type[Block], dropout: float = 0.0) -> Block:
    sublayers: dict[str, Sublayer] = {"self_attention": Affine("one", 2.0), "feed_forward": Affine("two", -3.0)}
    built = block(dims(dropout=dropout), site("block"), sublayers, nn.LayerNorm).double()
    randomise(built)
    return built


Step = Callable[[Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]], Tensor]

FORMULAS: list[tuple[type[Block], Step]] = [
    (PreNorm, lambda x, f, norm: x + f(norm(x))),
    (PostNorm, lambda x, f, norm: norm(x + f(x))),
    (NoResidual, lambda x, f, norm: f(norm(x))),
]


@pytest.mark.parametrize(("block", "step"), FORMULAS)
def test_the_formula(block: type[Block], step: Step) -> None:
    built, x = stub_block(block), states()

    def norm(role: str) -> Callable[[Tensor], Tensor]:
        weight, bias = built.get_parameter(f"norms.{role}.weight"), built.get_parameter(f"norms.{role}.bias")
        return lambda y: (y - y.mean(-1, True)) / (y.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * weight + bias

    y = step(x, lambda z: 2 * z.roll(1, -1) + 1, norm("self_attention"))
    y = step(y, lambda z: -3 * z.roll(1, -1) + 1, norm("feed_forward"))
    torch.testing.assert_close(built(x, context(T)).x, y, rtol=0, atol=1e-11)


@pytest.mark.parametrize("block", [PreNorm, PostNorm, NoResidual])
def test_losses_and_stats_of_the_sublayers_come_out(block: type[Block]) -> None:
    output = stub_block(block)(states(), context(T))
    assert {name: weight for name, (_, weight) in output.losses.items()} == {"one": 2.0, "two": -3.0}
    assert set(output.stats) == {"one", "two"}


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_layer_is_that_of_torch(norm_first: bool) -> None:
    sublayers: dict[str, Sublayer] = {
        "self_attention": MultiHeadAttention(DIMS, site(), bias=True),
        "feed_forward": ReLU(DIMS, site("feed_forward"), bias=True),
    }
    block = (PreNorm if norm_first else PostNorm)(DIMS, site("block"), sublayers, nn.LayerNorm).double()
    randomise(block)
    reference = nn.TransformerEncoderLayer(
        D, DIMS.num_heads, DIMS.d_ff, dropout=0.0, batch_first=True, norm_first=norm_first
    ).double()
    ours = {name.partition(".")[2]: parameter for name, parameter in block.named_parameters()}
    theirs = {
        "self_attn.out_proj": "self_attention.o_proj",
        "linear1": "feed_forward.up_proj",
        "linear2": "feed_forward.down_proj",
        "norm1": "self_attention",
        "norm2": "feed_forward",
    }
    with torch.no_grad():
        for kind in ("weight", "bias"):
            stacked = torch.cat([ours[f"self_attention.{name}_proj.{kind}"] for name in "qkv"])
            reference.get_parameter(f"self_attn.in_proj_{kind}").copy_(stacked)
            for their, our in theirs.items():
                reference.get_parameter(f"{their}.{kind}").copy_(ours[f"{our}.{kind}"])
    x = states()
    expected = reference(x, src_mask=torch.ones(T, T).triu(1).bool(), is_causal=True)
    torch.testing.assert_close(block(x, context(T)).x, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("block", [PreNorm, PostNorm])
def test_dropout_falls_on_the_branch_and_spares_the_residual(
    block: type[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dropout, "forward", lambda self, x: torch.zeros_like(x))
    built, x = stub_block(block, dropout=0.1), states()
    if block is PreNorm:
        assert torch.equal(built.train()(x, context(T)).x, x)
    else:
        twice = built.norms["feed_forward"](built.norms["self_attention"](x))
        torch.testing.assert_close(built.train()(x, context(T)).x, twice, rtol=0, atol=1e-12)


def test_which_blocks_want_a_final_norm() -> None:
    assert (PreNorm.needs_final_norm, PostNorm.needs_final_norm, NoResidual.needs_final_norm) == (True, False, True)


def test_without_sublayers_nothing_happens() -> None:
    x = states()
    assert torch.equal(PreNorm(DIMS, site("block"), {}, nn.LayerNorm)(x, context(T)).x, x)
