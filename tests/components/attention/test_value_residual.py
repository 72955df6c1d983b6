from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from lightning_tx.testing.places import DIMS, context, dims, site
from lightning_tx.testing.values import randomise
from tests.model.configs import config, small_model, tokens

H, G, K, T, D = 4, 2, 4, 6, DIMS.d_model
RESIDUAL = {"value_residual": True, "num_kv_heads": G}


def attention(layer: int) -> Any:
    built = MultiHeadAttention(dims(), site(layer=layer), num_kv_heads=G, value_residual=True).double()
    return randomise(built, seed=layer)


def naive(module: MultiHeadAttention, x_TD: Tensor, v_ST: Tensor) -> Tensor:
    """Causal attention of one row with given values, head by head and query by query."""
    q, k = (x_TD @ getattr(module, name).weight.T for name in ("q_proj", "k_proj"))
    out = torch.zeros(T, H * K, dtype=x_TD.dtype)
    for head in range(H):
        own, shared = slice(head * K, (head + 1) * K), slice(head // (H // G) * K, (head // (H // G) + 1) * K)
        for t in range(T):
            weights = (q[t, own] @ k[: t + 1, shared].T / K**0.5).exp()
            out[t, own] = weights / weights.sum() @ v_ST[: t + 1, shared]
    return out @ module.o_proj.get_parameter("weight").T


def test_values_are_shares_of_the_first_layer_s_and_the_own() -> None:
    first, later = attention(0), attention(2)
    x, y = (torch.randn(T, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in (0, 1))
    with torch.no_grad():
        at_first = first(x[None], context(T))
        found = later(y[None], replace(context(T), carried=at_first.carried))
        v_first, v_own = x @ first.v_proj.weight.T, y @ later.v_proj.weight.T
        a, b = later.value_shares
        torch.testing.assert_close(at_first.x[0], naive(first, x, v_first), rtol=0, atol=1e-12)
        torch.testing.assert_close(found.x[0], naive(later, y, a * v_first + b * v_own), rtol=0, atol=1e-12)
    assert found.carried == {}
    assert abs(a - b) > 1e-2


def test_shares_start_at_a_half_and_cross_attention_has_none() -> None:
    model: Any = build_model(config("encoder_decoder", attention=RESIDUAL))
    shares = {name: value.tolist() for name, value in model.named_parameters() if "value_shares" in name}
    assert shares == {f"{stack}.layers.1.sublayers.self_attention.value_shares": [0.5, 0.5] for stack in model.stacks}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            {"layers": 0, "attention": {"name": "multi_head"}},
            "at decoder.1.self_attention needs 'values' of an earlier",
        ),
        ({"layers": 0, "attention": {"name": "none"}}, "at decoder.1.self_attention needs 'values' of an earlier"),
        (
            {"layers": 0, "attention": {"name": "multi_head", "value_residual": True}},
            r"needs 'values' of the sizes \(2, 4\), and layer 0 carries \(4, 4\)",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused(override: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        build_model(config(sizes={"overrides": [override]}, attention=RESIDUAL), device="meta")
    assert len(raised.value.problems) == 1


def test_a_later_layer_without_it_goes_its_own_way() -> None:
    model = small_model(sizes={"overrides": [{"layers": 1, "attention": {"name": "multi_head"}}]}, attention=RESIDUAL)
    assert model(tokens(2, T)).x.shape == (2, T, D)
