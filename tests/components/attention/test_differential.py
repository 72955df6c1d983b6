import math

import pytest
import torch
from torch import Tensor, nn

from lightning_tx.components.attention.differential import DifferentialAttention
from lightning_tx.components.positions.alibi import Alibi
from lightning_tx.core.errors import ConfigError
from lightning_tx.testing.places import DIMS, context, dims, site
from lightning_tx.testing.values import randomise

B, T, D, H, K = 2, 7, DIMS.d_model, DIMS.num_heads, DIMS.head_dim
HALF = K // 2


def in_loops(layer: DifferentialAttention, x: Tensor, start: float, bias: Tensor) -> Tensor:
    """The paper's equations, head by head; the two maps of a head lie next to each other."""
    factor = (layer.lambda_q[0] @ layer.lambda_k[0]).exp() - (layer.lambda_q[1] @ layer.lambda_k[1]).exp() + start
    hidden = torch.full((T, T), -math.inf).triu(1)
    heads = []
    for h in range(H):
        maps = []
        for i in (0, 1):
            own = slice((2 * h + i) * HALF, (2 * h + i + 1) * HALF)
            q, k = x @ layer.q_proj.weight[own].T, x @ layer.k_proj.weight[own].T
            maps.append((q @ k.mT / HALF**0.5 + bias[h] + hidden).softmax(dim=-1))
        v = x @ layer.v_proj.weight[h * K : (h + 1) * K].T
        heads.append(layer.head_norm((maps[0] - factor * maps[1]) @ v) * (1 - start))
    return torch.cat(heads, dim=-1) @ layer.o_proj.weight.T


@pytest.mark.parametrize(("number", "start"), [(0, 0.2), (3, 0.8 - 0.6 * math.exp(-0.9))])
def test_it_is_the_paper_s_formula_in_every_layer(number: int, start: float) -> None:
    place = site(layer=number, make_norm=lambda k: nn.RMSNorm(k, eps=1e-5))
    layer, x = DifferentialAttention(DIMS, place).double(), torch.randn(B, T, D).double()
    randomise(layer)
    found = layer(x, context(T)).x
    torch.testing.assert_close(found, in_loops(layer, x, start, torch.zeros(H, T, T)), rtol=0, atol=1e-12)


def test_both_maps_of_a_head_have_its_bias() -> None:
    layer, x = DifferentialAttention(DIMS, site()).double(), torch.randn(B, T, D).double()
    randomise(layer)
    positions, at = Alibi(DIMS, site("positions")), torch.arange(T)
    bias = positions.bias(at[:, None], at[None])
    found = layer(x, context(T, bias=positions.bias)).x
    torch.testing.assert_close(found, in_loops(layer, x, 0.2, bias), rtol=0, atol=1e-12)


def test_it_has_as_many_matrices_of_the_same_size_as_other_heads() -> None:
    layer = DifferentialAttention(DIMS, site())
    assert {tuple(p.shape) for name, p in layer.named_parameters() if "proj" in name} == {(D, D)}


def test_heads_are_halved() -> None:
    with pytest.raises(ConfigError, match=r"attention\.name: differential .* model\.head_dim is 5"):
        DifferentialAttention(dims(head_dim=5), site())
