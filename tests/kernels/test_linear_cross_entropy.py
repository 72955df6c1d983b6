"""The fused projection and loss against the two steps of PyTorch."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.kernels import linear_cross_entropy as module
from lightning_tx.kernels.linear_cross_entropy import linear_cross_entropy

N, D, V = 13, 6, 11
#: Logits at a time: less than a row, one row, several with a rest, all.
CHUNKS = (1, V, 4 * V, 1 << 20)


def inputs(bias: bool = True, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(0)
    x, weight, offset = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((N, D), (V, D), (V,))
    )
    leaves = [(scale * x).to(dtype), weight.to(dtype), offset.to(dtype) if bias else None]
    targets = torch.randint(0, V, (N,), generator=generator)
    return *(None if leaf is None else leaf.requires_grad_() for leaf in leaves), targets


def in_two_steps(
    x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, label_smoothing: float, cap: float | None = None
) -> Tensor:
    logits = F.linear(x, weight, bias)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)


def gradients(value: Tensor, leaves: tuple[Any, ...]) -> list[Tensor]:
    return list(torch.autograd.grad(value, [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]))


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_value_and_gradients_are_those_of_the_two_steps(
    chunk: int, bias: bool, smoothing: float, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", {"cpu": chunk})
    *leaves, targets = inputs(bias)
    found = linear_cross_entropy(*leaves, targets, label_smoothing=smoothing, logit_cap=cap)
    expected = in_two_steps(*leaves, targets, smoothing, cap)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    pairs = zip(gradients(3 * found, tuple(leaves)), gradients(3 * expected, tuple(leaves)), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), ()])
def test_only_the_gradients_that_are_wanted_are_given(wanted: tuple[int, ...], smoothing: float) -> None:
    *leaves, targets = inputs()
    expected = dict(enumerate(gradients(in_two_steps(*leaves, targets, smoothing), tuple(leaves))))
    for place, leaf in enumerate(leaves):
        leaf.requires_grad_(place in wanted)
    found = linear_cross_entropy(*leaves, targets, label_smoothing=smoothing)
    assert found.requires_grad == bool(wanted)
    if wanted:
        found.backward()
    for place, leaf in enumerate(leaves):
        if place in wanted:
            torch.testing.assert_close(leaf.grad, expected[place], rtol=1e-11, atol=1e-12)
        else:
            assert leaf.grad is None


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_gradient_is_that_of_finite_differences(smoothing: float) -> None:
    *leaves, targets = inputs()

    def function(*leaves: Tensor) -> Tensor:
        return linear_cross_entropy(*leaves, targets, label_smoothing=smoothing).square()

    assert torch.autograd.gradcheck(function, tuple(leaves))


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    *leaves, targets = inputs()
    value = linear_cross_entropy(*leaves, targets).square()
    (grad,) = torch.autograd.grad(value, leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_target_of_no_probability_has_its_finite_loss_and_gradient(dtype: torch.dtype, smoothing: float) -> None:
    """Logits thousands apart: the target's probability is 0 in floating point, its loss is not infinite."""
    *leaves, targets = inputs(scale=2000.0, dtype=dtype)
    probability = F.linear(*leaves).softmax(-1).gather(-1, targets[:, None])
    assert (probability == 0).any() and (probability > 0.5).any()
    found = linear_cross_entropy(*leaves, targets, label_smoothing=smoothing)
    expected = in_two_steps(*(leaf.double() for leaf in leaves), targets, smoothing)
    assert math.isfinite(found.item())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    theirs = gradients(in_two_steps(*exact, targets, smoothing), tuple(exact))
    for mine, their in zip(gradients(found, tuple(leaves)), theirs, strict=True):
        torch.testing.assert_close(mine.double(), their, rtol=1e-4, atol=1e-3 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_under_autocast_it_stays_as_close_as_bf16_logits_do(smoothing: float) -> None:
    *leaves, targets = inputs(dtype=torch.float32)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    expected = in_two_steps(*exact, targets, smoothing)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_cross_entropy(*leaves, targets, label_smoothing=smoothing)
        found.backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=0)
    for leaf, theirs in zip(leaves, gradients(expected, tuple(exact)), strict=True):
        assert leaf.grad.dtype == torch.float32
        torch.testing.assert_close(leaf.grad.double(), theirs, rtol=0, atol=0.02 * theirs.abs().max().item())


def test_states_in_bf16_get_gradients_in_bf16_and_the_loss_in_fp32() -> None:
    """As autocast leaves them behind a linear layer, with weights in float32."""
    x, weight, bias, targets = inputs(dtype=torch.float32)
    narrow = x.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_cross_entropy(narrow, weight, bias, targets, label_smoothing=0.1)
    found.backward()
    assert found.dtype == torch.float32
    assert narrow.grad is not None and narrow.grad.dtype == torch.bfloat16
    assert weight.grad.dtype == bias.grad.dtype == torch.float32
    (theirs,) = gradients(in_two_steps(x, weight.detach(), bias.detach(), targets, 0.1), (x,))
    torch.testing.assert_close(narrow.grad.float(), theirs, rtol=0, atol=0.02 * theirs.abs().max().item())


def test_sums_over_many_chunks_are_kept_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty chunks added up in bf16 would be off by several per cent; their parts are rounded once each."""
    generator = torch.Generator().manual_seed(3)
    x, weight = torch.randn(600, 4, generator=generator), torch.randn(8, 4, generator=generator).requires_grad_()
    targets = torch.zeros(600, dtype=torch.int64)
    monkeypatch.setattr(module, "_CHUNK", {"cpu": 80})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_cross_entropy(x, weight, None, targets)
    expected = in_two_steps(x, weight, None, targets, 0.0)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)
    (ours,), (theirs,) = gradients(found, (weight,)), gradients(expected, (weight,))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-3 * theirs.abs().max().item())


def test_one_weight_used_twice_gets_both_gradients() -> None:
    """Tied embeddings: the same matrix embeds and projects."""
    _, weight, _, targets = inputs()
    found = linear_cross_entropy(F.embedding(targets, weight), weight, None, targets.roll(1))
    expected = in_two_steps(F.embedding(targets, weight), weight, None, targets.roll(1), 0.0)
    (ours,), (theirs,) = gradients(found, (weight,)), gradients(expected, (weight,))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_states_have_no_loss(smoothing: float) -> None:
    x, weight, bias, targets = inputs()
    none = x.detach()[:0].requires_grad_()
    found = linear_cross_entropy(none, weight, bias, targets[:0], label_smoothing=smoothing)
    found.backward()
    assert found.item() == 0 and none.grad is not None and none.grad.shape == (0, D)
    assert not weight.grad.any() and not bias.grad.any()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_value_is_the_same(mode: Any) -> None:
    *leaves, targets = inputs()
    with mode():
        found = linear_cross_entropy(*leaves, targets, label_smoothing=0.1)
    torch.testing.assert_close(found, linear_cross_entropy(*leaves, targets, label_smoothing=0.1), rtol=0, atol=0)


def test_the_inputs_stay_as_they_are() -> None:
    *leaves, targets = inputs()
    before = [leaf.detach().clone() for leaf in (*leaves, targets)]
    linear_cross_entropy(*leaves, targets, label_smoothing=0.1).backward()
    assert all(torch.equal(leaf, old) for leaf, old in zip((*leaves, targets), before, strict=True))


def test_a_backward_pass_can_be_repeated() -> None:
    *leaves, targets = inputs()
    found = linear_cross_entropy(*leaves, targets)
    found.backward(retain_graph=True)
    once = leaves[1].grad.clone()
    found.backward()
    torch.testing.assert_close(leaves[1].grad, 2 * once)
