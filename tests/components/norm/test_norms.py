import pytest
import torch
from torch import nn

from lightning_tx.components.norm.base import NORM
from lightning_tx.components.norm.dynamic_tanh import DynamicTanh
from lightning_tx.components.norm.layernorm import LayerNorm
from lightning_tx.components.norm.none import NoNorm
from lightning_tx.components.norm.rmsnorm import RMSNorm
from lightning_tx.core.schema import options_of
from lightning_tx.testing.values import randomise

WIDTH = 12


def states() -> torch.Tensor:
    return 3 * torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1


@pytest.mark.parametrize("eps", [1e-5, 0.5])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda eps: LayerNorm(WIDTH, eps=eps), lambda eps: nn.LayerNorm(WIDTH, eps)),
        (lambda eps: LayerNorm(WIDTH, eps=eps, bias=False), lambda eps: nn.LayerNorm(WIDTH, eps, bias=False)),
        (lambda eps: RMSNorm(WIDTH, eps=eps), lambda eps: nn.RMSNorm(WIDTH, eps)),
    ],
    ids=["layernorm", "layernorm without bias", "rmsnorm"],
)
def test_norms_are_those_of_torch(ours, theirs, eps: float) -> None:  # type: ignore[no-untyped-def]
    norm, reference = ours(eps).double(), theirs(eps).double()
    x = states()
    torch.testing.assert_close(norm(x), reference(x), rtol=0, atol=1e-12)
    randomise(norm)
    reference.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(x), reference(x), rtol=0, atol=1e-12)


def test_the_formulas() -> None:
    x, eps = states(), 0.5
    centred = x - x.mean(dim=-1, keepdim=True)
    layernorm = centred / (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    torch.testing.assert_close(LayerNorm(WIDTH, eps=eps).double()(x), layernorm, rtol=0, atol=1e-12)
    rmsnorm = x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    torch.testing.assert_close(RMSNorm(WIDTH, eps=eps).double()(x), rmsnorm, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_the_formula_of_dynamic_tanh(bias: bool) -> None:
    norm, x = DynamicTanh(WIDTH, bias=bias).double(), states()
    growth = torch.exp(2 * 0.5 * x)
    torch.testing.assert_close(norm(x), (growth - 1) / (growth + 1), rtol=0, atol=1e-12)
    randomise(norm)
    values = dict(norm.named_parameters())
    growth = torch.exp(2 * values["alpha"] * x)
    expected = (growth - 1) / (growth + 1) * values["weight"] + (values["bias"] if bias else 0)
    assert set(values) == {"alpha", "weight", "bias"} - (set() if bias else {"bias"})
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-12)


def test_none_changes_nothing() -> None:
    x = states()
    assert NoNorm(WIDTH)(x) is x
    assert list(NoNorm(WIDTH).parameters()) == []


def test_all_norms_share_their_eps() -> None:
    eps = {option.default for name in NORM.names() for option in options_of(NORM.get(name)) if option.name == "eps"}
    assert eps == {1e-5}
