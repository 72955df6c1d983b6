import pytest
import torch
from torch import Tensor

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.positions.alibi import Alibi
from lightning_tx.testing.places import DIMS, context, dims, site
from lightning_tx.testing.values import randomise

EIGHT = [2**-1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-8]
SLOPES = {
    1: [2**-8],
    3: [2**-4, 2**-8, 2**-2],
    8: EIGHT,
    12: [*EIGHT, 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5],
}


@pytest.mark.parametrize("heads", SLOPES)
def test_the_bias_is_the_distance_times_the_slope_of_the_head(heads: int) -> None:
    component = Alibi(dims(num_heads=heads), site("positions"))
    q, k = torch.tensor([[5, 0], [70, 71]])[:, :, None], torch.tensor([[0, 3, 5], [0, 70, 72]])[:, None, :]
    found = component.bias(q, k)
    assert found.shape == (2, heads, 2, 3)
    for h, slope in enumerate(SLOPES[heads]):
        torch.testing.assert_close(found[:, h], -slope * (q - k).abs().float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_with_it_is_the_formula(causal: bool) -> None:
    layer, x = MultiHeadAttention(DIMS, site(causal=causal)).double(), torch.randn(2, 7, DIMS.d_model).double()
    randomise(layer)
    component = Alibi(DIMS, site("positions", causal=causal))
    q, k, v = (
        proj(x).view(2, 7, DIMS.num_heads, DIMS.head_dim).transpose(1, 2)
        for proj in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    scores: Tensor = q @ k.mT / DIMS.head_dim**0.5
    for h, i, j in torch.cartesian_prod(*map(torch.arange, (DIMS.num_heads, 7, 7))).tolist():
        scores[:, h, i, j] -= 2 ** (-8 * (h + 1) / DIMS.num_heads) * abs(i - j)
    if causal:
        scores = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), float("-inf"))
    expected = layer.o_proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
    found = layer(x, context(7, causal=causal, bias=component.bias)).x
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
