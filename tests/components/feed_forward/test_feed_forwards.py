import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_tx.components.feed_forward.geglu import GEGLU
from lightning_tx.components.feed_forward.geglu_tanh import GEGLUTanh
from lightning_tx.components.feed_forward.gelu import GELU
from lightning_tx.components.feed_forward.gelu_tanh import GELUTanh
from lightning_tx.components.feed_forward.relu import ReLU
from lightning_tx.components.feed_forward.silu import SiLU
from lightning_tx.components.feed_forward.squared_relu import SquaredReLU
from lightning_tx.components.feed_forward.swiglu import SwiGLU
from lightning_tx.core.description import description
from lightning_tx.core.schema import options_of
from lightning_tx.testing.places import DIMS, context, site
from lightning_tx.testing.values import randomise


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0)


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x: Tensor) -> Tensor:
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def squared_relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x * x, 0)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


#: Each component, its activation written naively, and whether a gate is what it acts on.
FORMULAS = [
    (ReLU, relu, False),
    (SquaredReLU, squared_relu, False),
    (GELU, gelu, False),
    (GELUTanh, gelu_tanh, False),
    (SiLU, silu, False),
    (SwiGLU, silu, True),
    (GEGLU, gelu, True),
    (GEGLUTanh, gelu_tanh, True),
]


@pytest.mark.parametrize("component", [component for component, _, _ in FORMULAS])
def test_its_options_are_those_of_its_base(component: type) -> None:
    assert "__init__" not in vars(component)
    assert [(option.name, option.type, option.default) for option in options_of(component)] == [("bias", "bool", False)]
    assert "    bias: whether the projections have a bias." in description(component)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("component", "activation", "gated"), FORMULAS)
def test_the_formula(component: type, activation: Callable[[Tensor], Tensor], gated: bool, bias: bool) -> None:
    layer = component(DIMS, site("feed_forward"), bias=bias).double()
    randomise(layer)
    weights = dict(layer.named_parameters())
    projections = ("up_proj", "down_proj", "gate_proj") if gated else ("up_proj", "down_proj")
    assert set(weights) == {f"{name}.{kind}" for name in projections for kind in ("weight", "bias")[: 1 + bias]}
    assert weights["up_proj.weight"].shape == (DIMS.d_ff, DIMS.d_model)

    def linear(name: str, x: Tensor) -> Tensor:
        product = torch.einsum("btd,fd->btf", x, weights[f"{name}.weight"])
        return product + weights[f"{name}.bias"] if bias else product

    x = torch.randn(2, 5, DIMS.d_model, dtype=torch.float64)
    inner = linear("up_proj", x)
    inner = activation(linear("gate_proj", x)) * inner if gated else activation(inner)
    torch.testing.assert_close(layer(x, context(5)).x, linear("down_proj", inner), rtol=0, atol=1e-12)
