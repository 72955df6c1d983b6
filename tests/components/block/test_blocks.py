from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.block.base import Block, writes_to_residual
from lightning_tx.components.block.canon import Canon
from lightning_tx.components.block.deepnorm import DeepNorm
from lightning_tx.components.block.no_residual import NoResidual
from lightning_tx.components.block.parallel import Parallel
from lightning_tx.components.block.post_norm import PostNorm
from lightning_tx.components.block.pre_norm import PreNorm
from lightning_tx.components.block.rezero import ReZero
from lightning_tx.components.block.sandwich import Sandwich
from lightning_tx.components.feed_forward.relu import ReLU
from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.dropout import Dropout
from lightning_tx.testing.places import DIMS, context, dims, site
from lightning_tx.testing.values import randomise

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


Map = Callable[[Tensor], Tensor]
ALL: list[type[Block]] = [PreNorm, PostNorm, NoResidual, Sandwich, Parallel, ReZero, DeepNorm, Canon]
ONE_EACH = {"self_attention", "feed_forward"}


def first(x: Tensor) -> Tensor:
    return 2 * x.roll(1, -1) + 1


def second(x: Tensor) -> Tensor:
    return -3 * x.roll(1, -1) + 1


def norm_of(built: Block, name: str) -> Map:
    weight, bias = built.get_parameter(f"norms.{name}.weight"), built.get_parameter(f"norms.{name}.bias")
    return lambda y: (y - y.mean(-1, True)) / (y.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * weight + bias


def with_neighbours(built: Block, role: str, y: Tensor) -> Tensor:
    """``y`` plus torch's convolution of it, which looks at four tokens."""
    weight = built.get_parameter(f"convolutions.{role}.weight").flip(0).T[:, None]
    return y + nn.functional.conv1d(nn.functional.pad(y.mT, (3, 0)), weight, groups=D).mT


# The step of one sublayer f, from what the block holds for its role.
STEPS: list[tuple[type[Block], Callable[[Block, str, Map, Tensor], Tensor]]] = [
    (PreNorm, lambda block, role, f, x: x + f(norm_of(block, role)(x))),
    (PostNorm, lambda block, role, f, x: norm_of(block, role)(x + f(x))),
    (NoResidual, lambda block, role, f, x: f(norm_of(block, role)(x))),
    (Sandwich, lambda block, role, f, x: x + norm_of(block, f"{role}_after")(f(norm_of(block, role)(x)))),
    (ReZero, lambda block, role, f, x: x + block.get_parameter(f"alphas.{role}") * f(x)),
    (DeepNorm, lambda block, role, f, x: norm_of(block, role)(4**0.25 * x + f(x))),  # a decoder of 2 layers
    (Canon, lambda block, role, f, x: x + f(with_neighbours(block, role, norm_of(block, role)(x)))),
]


@pytest.mark.parametrize(("block", "step"), STEPS)
def test_the_formula(block: type[Block], step: Callable[[Block, str, Map, Tensor], Tensor]) -> None:
    built, x = stub_block(block), states()
    y = step(built, "feed_forward", second, step(built, "self_attention", first, x))
    torch.testing.assert_close(built(x, context(T)).x, y, rtol=0, atol=1e-11)


def test_the_formula_of_parallel() -> None:
    built, x = stub_block(Parallel), states()
    normed = norm_of(built, "shared")(x)
    torch.testing.assert_close(built(x, context(T)).x, x + first(normed) + second(normed), rtol=0, atol=1e-11)


def test_parallel_sets_cross_attention_beside_the_others() -> None:
    roles = ("self_attention", "cross_attention", "feed_forward")
    sublayers: dict[str, Sublayer] = {
        role: Affine(role, factor) for role, factor in zip(roles, (2, 5, -3), strict=True)
    }
    built, x = Parallel(DIMS, site("block"), sublayers, nn.LayerNorm).double(), states()
    randomise(built)
    normed = norm_of(built, "shared")(x)
    expected = x + first(normed) + (5 * normed.roll(1, -1) + 1) + second(normed)
    torch.testing.assert_close(built(x, context(T)).x, expected, rtol=0, atol=1e-11)


def test_a_block_holds_the_norms_it_uses_and_no_others() -> None:
    names = {block: set(stub_block(block).norms) for block in ALL}
    after = {f"{role}_after" for role in ONE_EACH}
    assert names == {
        PreNorm: ONE_EACH,
        PostNorm: ONE_EACH,
        NoResidual: ONE_EACH,
        DeepNorm: ONE_EACH,
        Canon: ONE_EACH,
        Sandwich: ONE_EACH | after,
        Parallel: {"shared"},
        ReZero: set(),
    }


@pytest.mark.parametrize("block", ALL)
def test_losses_and_stats_of_the_sublayers_come_out(block: type[Block]) -> None:
    output = stub_block(block)(states(), context(T))
    assert {name: weight for name, (_, weight) in output.losses.items()} == {"one": 2.0, "two": -3.0}
    assert set(output.stats) == {"one", "two"}


def test_canon_stands_where_it_is_told_and_in_causal_stacks_alone() -> None:
    sublayers: dict[str, Sublayer] = {"self_attention": Affine("one", 2.0), "feed_forward": Affine("two", -3.0)}
    built = Canon(DIMS, site("block"), sublayers, nn.LayerNorm, width=2, sites=["feed_forward"])
    assert {name: tuple(each.shape) for name, each in built.convolutions.named_parameters()} == {
        "feed_forward.weight": (2, D)
    }
    with pytest.raises(ConfigError, match=r"block.name: canon .* causal stack"):
        Canon(DIMS, site("block", causal=False, stack="encoder"), sublayers, nn.LayerNorm)


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
    assert [block for block in ALL if block.needs_final_norm] == [
        PreNorm,
        NoResidual,
        Sandwich,
        Parallel,
        Canon,
    ]


@pytest.mark.parametrize("block", ALL)
def test_without_sublayers_nothing_happens(block: type[Block]) -> None:
    x, built = states(), block(DIMS, site("block"), {}, nn.LayerNorm)
    assert torch.equal(built(x, context(T)).x, x)
    assert list(built.parameters()) == []


@pytest.mark.parametrize(
    ("parameter", "writes"),
    [
        ("sublayers.self_attention.o_proj.weight", True),
        ("sublayers.feed_forward.down_proj.weight", True),
        ("sublayers.feed_forward.experts.down_proj.weight", True),
        ("sublayers.feed_forward.down_proj.bias", False),
        ("sublayers.self_attention.kv_down_proj.weight", False),
        ("sublayers.self_attention.o_proj.lora_A", False),
    ],
)
def test_the_last_matrix_of_a_sublayer_writes_to_the_residual_stream(parameter: str, writes: bool) -> None:
    assert writes_to_residual(parameter) is writes
    assert PreNorm(DIMS, site("block"), {"feed_forward": Affine("one", 1.0)}, nn.LayerNorm).init_gain(parameter) == (
        2**-0.5 if writes else 1.0
    )
