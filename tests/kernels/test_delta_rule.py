from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_tx.kernels.delta_rule import gated_delta_rule

B, H, T, K, V = 2, 3, 37, 4, 5


def inputs(length: int = T) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(B, H, *shape, generator=generator, dtype=torch.float64)

    return {
        "q_BHTK": draw(length, K),
        "k_BHTK": torch.nn.functional.normalize(draw(length, K), dim=-1),
        "v_BHTV": draw(length, V),
        "log_decay_BHT": -draw(length).exp(),
        "rate_BHT": draw(length).sigmoid(),
        "state_BHKV": draw(K, V),
    }


def one_by_one(values: dict[str, Any], starts_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The recurrence as it is written in the paper."""
    q, k, v, log_decay, rate, state = values.values()
    outputs = torch.empty_like(v)
    for b in range(q.shape[0]):
        for h in range(H):
            memory = state[b, h].clone()
            for t in range(q.shape[2]):
                if starts_BT is not None and starts_BT[b, t]:
                    memory = torch.zeros_like(memory)
                key = k[b, h, t]
                memory = log_decay[b, h, t].exp() * (memory - rate[b, h, t] * torch.outer(key, key @ memory))
                memory = memory + rate[b, h, t] * torch.outer(key, v[b, h, t])
                outputs[b, h, t] = q[b, h, t] @ memory
            state[b, h] = memory
    return outputs, state


@pytest.mark.parametrize("chunk", [1, 4, 16, 64])
@pytest.mark.parametrize("documents", [False, True])
def test_chunks_are_the_recurrence(chunk: int, documents: bool) -> None:
    starts = None
    if documents:
        starts = torch.zeros(B, T, dtype=torch.bool)
        starts[0, [1, 2, 15, 16, 17, 36]], starts[1, [0, 20]] = True, True
    found = gated_delta_rule(**inputs(), starts_BT=starts, chunk=chunk)
    for own, expected in zip(found, one_by_one(inputs(), starts), strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-10)


def test_a_state_goes_on_where_it_was_left() -> None:
    values, parts = inputs(), []
    expected, last = one_by_one(inputs())
    state = values.pop("state_BHKV")
    for start, end in pairwise([0, 1, 2, 20, T]):
        part = {name: value[:, :, start:end] for name, value in values.items()}
        out, state = gated_delta_rule(**part, state_BHKV=state, chunk=8)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, dim=2), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-10)


def test_its_gradient_is_the_derivative() -> None:
    values = {name: value[:, :1, :7].requires_grad_() for name, value in inputs(7).items()}
    starts = torch.tensor([[False, False, False, True, False, False, False]]).expand(B, -1)

    def run(*each: Any) -> tuple[Tensor, Tensor]:
        return gated_delta_rule(*each, starts_BT=starts, chunk=3)

    assert torch.autograd.gradcheck(run, tuple(values.values()))


def test_strong_decay_overflows_nowhere() -> None:
    decay = torch.full((B, H, T), -50.0, requires_grad=True)
    out, _ = gated_delta_rule(**{**inputs(), "log_decay_BHT": decay})
    (gradient,) = torch.autograd.grad(out.sum(), decay)
    assert out.isfinite().all() and gradient.isfinite().all()


def test_the_state_is_wide_under_autocast() -> None:
    values = {name: value.bfloat16() for name, value in inputs().items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gated_delta_rule(**values)
    assert {each.dtype for each in found} == {torch.float32}
    expected = gated_delta_rule(**{name: value.float() for name, value in values.items()})
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
