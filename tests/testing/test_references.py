"""What consistency with itself cannot show: a component that is wrong everywhere alike. A reference shows it."""

import pytest
import torch
from torch import Tensor, nn

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.positions.base import Positions
from lightning_tx.core.dims import Dims, Site
from lightning_tx.testing.places import context, dims, site
from lightning_tx.testing.suite import cases, failures
from lightning_tx.testing.values import randomise
from tests.testing.planted import NAME, planted

D, H, G, K, T = 16, 4, 2, 4, 7


class Grouped(MultiHeadAttention):
    """Two key heads for four query heads."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site, num_kv_heads=G)


class WithoutItsScale(Grouped):
    """Scores that are not divided by the root of the head's width."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.scale = 1.0


class TilesItsKeys(Grouped):
    """Key heads one after the other, where neighbours share one; the cache holds two."""

    def expand(self, held: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return held["k"].repeat(1, H // G, 1, 1), held["v"].repeat(1, H // G, 1, 1)


class Alibi(Positions):
    """A penalty for distance; head h of H has the slope ``2^(-8 (h + 1) / H)``."""

    sign = -1.0

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.num_heads = dims.num_heads

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        heads = torch.arange(1, self.num_heads + 1, dtype=torch.float64, device=q_positions.device)
        slopes = 2.0 ** (-8 * heads / self.num_heads)
        return self.sign * slopes[:, None, None] * (q_positions - k_positions).abs()[..., None, :, :]


class RewardsDistance(Alibi):
    """The sign of the penalty is wrong."""

    sign = 1.0


def naive_attention(module: nn.Module, x_TD: Tensor) -> Tensor:
    """Causal attention of one row, head by head and query by query."""
    q, k, v = (getattr(module, name).weight @ x_TD.T for name in ("q_proj", "k_proj", "v_proj"))
    out = torch.zeros(T, H * K, dtype=x_TD.dtype)
    for head in range(H):
        own, group = slice(head * K, (head + 1) * K), head // (H // G)
        shared = slice(group * K, (group + 1) * K)
        for t in range(T):
            scores = torch.stack([q[own, t] @ k[shared, s] / K**0.5 for s in range(t + 1)])
            weights = scores.exp() / scores.exp().sum()
            out[t, own] = sum(weights[s] * v[shared, s] for s in range(t + 1))
    return out @ module.get_parameter("o_proj.weight").T


def attention_gap(component: type[Grouped]) -> float:
    module = component(dims(), site()).double()
    randomise(module)
    x_BTD = torch.randn(1, T, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (module(x_BTD, context(T)).x[0] - naive_attention(module, x_BTD[0])).abs().max().item()


def alibi_gap(component: type[Alibi]) -> float:
    at = torch.arange(T)
    found = component(dims(), site("positions")).bias(at[None, :, None], at[None, None, :])
    expected = [[[-abs(i - j) * 2 ** (-8 * (h + 1) / H) for j in range(T)] for i in range(T)] for h in range(H)]
    return (found - torch.tensor(expected)).abs().max().item()


@pytest.mark.parametrize("fault", [WithoutItsScale, TilesItsKeys])
def test_the_naive_formula_sees_faulty_attention(fault: type[Grouped]) -> None:
    assert attention_gap(Grouped) < 1e-12
    assert attention_gap(fault) > 1e-2


def test_the_naive_formula_sees_the_sign_of_alibi() -> None:
    assert alibi_gap(Alibi) < 1e-6
    assert alibi_gap(RewardsDistance) > 1


@pytest.mark.parametrize(
    ("group", "fault"),
    [("attention", WithoutItsScale), ("positions", RewardsDistance)],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_the_suite_cannot(group: str, fault: type) -> None:
    """If a property comes to see one of these, it belongs to the planted faults."""
    with planted(group, fault) as config:
        dear = {"compiles_in_one_graph", "describes_itself"}
        found = failures([each.run(subject) for each, subject in cases(group, NAME, config) if each.name not in dear])
    assert [str(failure) for failure in found] == []
