import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_tx.kernels.grouped_linear import GroupedLinear, grouped_linear

COUNTS = torch.tensor([3, 0, 4, 1])


def layer(bias: bool = True, dtype: torch.dtype = torch.float64) -> GroupedLinear:
    made = GroupedLinear(4, 5, 6, bias=bias).to(dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def rows(count: int = 8, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(1), dtype=dtype).requires_grad_()


def one_by_one(x: Tensor, made: GroupedLinear) -> Tensor:
    groups = [group for group, count in enumerate(COUNTS.tolist()) for _ in range(count)]
    biases = torch.zeros(4, 6, dtype=x.dtype) if made.bias is None else made.bias
    products = [made.weight[group] @ row + biases[group] for row, group in zip(x, groups, strict=False)]
    return torch.stack(products + [torch.zeros_like(products[0])] * (len(x) - len(groups)))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("extra", [0, 3])
def test_each_row_meets_its_group_and_rows_of_no_group_give_zeros(bias: bool, extra: int) -> None:
    made, x = layer(bias), rows(8 + extra)
    out, expected = made(x, COUNTS), one_by_one(x, made)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    inputs, weights = [x, *made.parameters()], torch.randn_like(out)
    found = torch.autograd.grad((out * weights).sum(), inputs)
    for mine, theirs in zip(found, torch.autograd.grad((expected * weights).sum(), inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    assert not found[1][1].any()  # the group without rows: zeros, not None


def test_gradients_of_gradients() -> None:
    made = layer()
    inputs = (rows(9), made.weight, made.bias)
    torch.autograd.gradcheck(lambda x, w, b: grouped_linear(x, w, COUNTS, b), inputs)
    torch.autograd.gradgradcheck(lambda x, w, b: grouped_linear(x, w, COUNTS, b), inputs)


@pytest.mark.parametrize("trained", ["rows", "weight"])
def test_what_is_frozen_gets_no_gradient(trained: str) -> None:
    made, x = layer(bias=False), rows()
    (x if trained == "weight" else made.weight).requires_grad_(False)
    made(x, COUNTS).sum().backward()
    assert (x.grad is None, made.weight.grad is None) == (trained == "weight", trained == "rows")


def test_autocast_is_what_it_is_to_a_linear_layer() -> None:
    made, x = layer(dtype=torch.float32), rows(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = made(x, COUNTS)
        singles = [nn.Linear(5, 6) for _ in COUNTS]
        for group, single in enumerate(singles):
            single.weight.data, single.bias.data = made.weight[group].data, made.bias[group].data
        expected = torch.cat([single(part) for single, part in zip(singles, x.split(COUNTS.tolist()), strict=True)])
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, rtol=0, atol=0.05)
    out.float().sum().backward()
    assert made.weight.grad is not None and made.weight.grad.dtype == torch.float32


def test_compiles_without_graph_breaks_whatever_the_counts() -> None:
    torch._dynamo.reset()
    made, x = layer(), rows()
    compiled = torch.compile(made, fullgraph=True, backend="eager")
    for counts in (COUNTS, torch.tensor([0, 8, 0, 0])):
        torch.testing.assert_close(compiled(x, counts), made(x, counts), rtol=0, atol=0)


def test_operations_are_counted_without_values() -> None:
    with torch.device("meta"):
        made, x, counts = GroupedLinear(4, 5, 6, bias=True), torch.empty(8, 5), torch.empty(4, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        assert made(x, counts).shape == (8, 6)
    assert counter.get_total_flops() == 2 * 8 * 5 * 6
    with FlopCounterMode(display=False) as counter:
        layer()(rows(), COUNTS).sum().backward()
    assert counter.get_total_flops() >= 3 * 2 * 8 * 5 * 6  # and the bias's gradient
