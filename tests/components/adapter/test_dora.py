import pytest
import torch

from lightning_tx.components.adapter.dora import DoraGrouped, DoraLinear
from lightning_tx.kernels.grouped_linear import GroupedLinear
from lightning_tx.testing.values import randomise
from tests.components.adapter.models import assert_like_peft


def test_output_and_gradients_are_those_of_peft() -> None:
    assert_like_peft({"name": "dora", "rank": 3, "alpha": 5.0}, r=3, lora_alpha=5.0, use_dora=True)


def test_it_starts_as_the_base_bit_for_bit() -> None:
    linear, x = torch.nn.Linear(5, 7), torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(DoraLinear.of(linear, 2, 1.0, 0.0)(x), linear(x))


@pytest.mark.parametrize("bias", [False, True])
def test_experts_are_linear_layers_side_by_side(bias: bool) -> None:
    layer = GroupedLinear(3, 5, 7, bias=bias).double()
    randomise(layer)
    grouped = DoraGrouped.of(layer, 2, 1.5, 0.0)
    randomise(grouped.lora_A, seed=2), randomise(grouped.lora_B, seed=3)
    with torch.no_grad():
        grouped.lora_magnitude.normal_(generator=torch.Generator().manual_seed(3))
    x, counts = torch.randn(6, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64), [2, 0, 4]
    expected = []
    for expert, rows in enumerate(x.split(counts)):
        v = layer.weight[expert] + 1.5 * grouped.lora_B.weight[expert] @ grouped.lora_A.weight[expert]
        m = layer.weight[expert].norm(dim=1) + grouped.lora_magnitude[expert]
        out = rows @ (m[:, None] * v / v.norm(dim=1, keepdim=True)).T
        expected.append(out + layer.bias[expert] if layer.bias is not None else out)
    found = grouped(x, torch.tensor(counts))
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(grouped.merged()(x, torch.tensor(counts)), found, rtol=0, atol=1e-12)
