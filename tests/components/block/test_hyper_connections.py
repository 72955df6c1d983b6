from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_tx.components.block.dynamic_hyper_connections import DynamicHyperConnections
from lightning_tx.components.block.hyper_connections import HyperConnections
from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from lightning_tx.testing.places import DIMS, context, dims, site
from lightning_tx.testing.values import randomise
from tests.model.configs import config, tokens

T, D, N = 5, DIMS.d_model, 3
ROLES = ("self_attention", "feed_forward")
KINDS = [HyperConnections, DynamicHyperConnections]


class Rolled(Sublayer):
    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        return Output(2 * x_BTD.roll(1, -1) + 1)


def block(kind: type[HyperConnections], layer: int = 0) -> HyperConnections:
    sublayers: dict[str, Sublayer] = {role: Rolled() for role in ROLES}
    built = kind(dims(), site("block", layer=layer), sublayers, nn.LayerNorm, num_streams=N).double()
    randomise(built)
    return built


def normed(built: nn.Module, name: str, x: Tensor) -> Tensor:
    weight, bias = built.get_parameter(f"norms.{name}.weight"), built.get_parameter(f"norms.{name}.bias")
    return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() * weight + bias


def naive(built: HyperConnections, streams: list[Tensor], layer: int) -> list[Tensor]:
    """One token's streams [D] after a layer, in the paper's words: the matrices B, A_m and A_r of each sublayer."""
    for index, role in enumerate(ROLES):
        b = [built.write[role][m] for m in range(N)]
        a_m = [built.read[role][n] + (n == (2 * layer + index) % N) for n in range(N)]
        a_r = [[built.mix[role][n, m] + (n == m) for m in range(N)] for n in range(N)]
        if isinstance(built, DynamicHyperConnections):
            w, (s_alpha, s_beta) = built.get_parameter(f"dynamic.{role}.weight"), built.scales[role]
            for n in range(N):
                moved = (w @ normed(built, f"{role}_streams", streams[n])).tanh()
                a_m[n] = a_m[n] + s_alpha * moved[0]
                b[n] = b[n] + s_beta * moved[1]
                a_r[n] = [a_r[n][m] + s_alpha * moved[2 + m] for m in range(N)]
        h = normed(built, role, sum((a_m[n] * streams[n] for n in range(N)), torch.zeros(D)))
        y = 2 * h.roll(1, -1) + 1
        streams = [b[m] * y + sum(a_r[n][m] * streams[n] for n in range(N)) for m in range(N)]
    return streams


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_formula_of_the_paper(kind: type[HyperConnections], layer: int) -> None:
    built = block(kind, layer)
    streams = torch.randn(2, T, N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        found = built(streams, context(T)).x
        expected = torch.stack([torch.stack(naive(built, list(token), layer)) for token in streams.flatten(0, 1)])
    torch.testing.assert_close(found.flatten(0, 1), expected, rtol=0, atol=1e-11)


def test_the_states_enter_every_stream_and_their_mean_leaves() -> None:
    built, x = block(HyperConnections), torch.randn(2, T, D)
    entered = built.enter(x)
    assert entered.shape == (2, T, N, D)
    assert all(torch.equal(stream, x) for stream in entered.unbind(-2))
    several = torch.randn(2, T, N, D)
    torch.testing.assert_close(built.leave(several), sum(several.unbind(-2)) / N)


@pytest.mark.parametrize("topology", ["decoder", "encoder_decoder"])
@pytest.mark.parametrize("kind", ["hyper_connections", "dynamic_hyper_connections"])
def test_it_starts_as_pre_norm(kind: str, topology: str) -> None:
    ids = [tokens(2, 7)] * (2 if topology == "encoder_decoder" else 1)
    plain = build_model(config(topology)).double()
    several = build_model(config(topology, block={"name": kind, "num_streams": 3})).double()
    torch.testing.assert_close(several(*ids).x, plain(*ids).x, rtol=0, atol=1e-12)


def test_blocks_of_another_number_of_streams_are_refused() -> None:
    other: dict[str, Any] = {"layers": 1, "block": {"name": "hyper_connections"}}
    with pytest.raises(ConfigError, match="the decoder's have 1 in layer 0, 4 in layer 1"):
        build_model(config(sizes={"overrides": [other]}), device="meta")


def test_the_streams_keep_their_precision_under_autocast() -> None:
    built: Callable[..., Output] = block(DynamicHyperConnections).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert built(torch.randn(2, T, N, D), context(T)).x.dtype == torch.float32
