import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_tx.kernels.attend import attend
from lightning_tx.kernels.masks import Mask
from lightning_tx.kernels.pattern import Pattern

B, H, T, K = 2, 4, 6, 5
POSITIONS = torch.arange(T)[None]
SLOPES = torch.tensor([0.7, 0.31, 0.1, 0.0], dtype=torch.float64)


class Close(Pattern):
    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (q_positions - k_positions).abs() <= 2


class Beginning(Pattern):
    prefix = 3

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> None:
        return None


def distance(q: Tensor, k: Tensor) -> Tensor:
    return -SLOPES[:, None, None] * (q - k).abs()[:, None]


MASKS: dict[str, Mask] = {
    name: Mask(**({"q_positions": POSITIONS, "k_positions": POSITIONS, "causal": True} | ingredients))
    for name, ingredients in {
        "full": {"causal": False},
        "causal": {"in_order": True},
        "pattern": {"pattern": Close(), "causal": False},
        "causal pattern": {"pattern": Close()},
        "right padding": {"k_token_mask": torch.arange(T)[None] < torch.tensor([[T], [3]])},
        "left padding": {"k_token_mask": torch.arange(T)[None] >= torch.tensor([[0], [3]])},
        "documents": {
            "q_documents": torch.tensor([[0, 0, 1, 1, 1, 2], [0, 0, 0, 0, 0, 0]]),
            "k_documents": torch.tensor([[0, 0, 1, 1, 1, 2], [0, 0, 0, 0, 0, 0]]),
        },
        "prefix": {"pattern": Beginning(), "in_order": True},
        "prefix of documents": {
            "pattern": Beginning(),
            "q_positions": torch.tensor([[0, 1, 0, 1, 2, 3]]),
            "k_positions": torch.tensor([[0, 1, 0, 1, 2, 3]]),
            "q_documents": torch.tensor([[0, 0, 1, 1, 1, 1]]),
            "k_documents": torch.tensor([[0, 0, 1, 1, 1, 1]]),
        },
        "last queries": {"q_positions": POSITIONS[:, -2:], "in_order": True},
        "nothing to attend to": {"k_token_mask": torch.tensor([[1] * T, [0] * T]).bool()},
    }.items()
}


def naive(
    q: Tensor, k: Tensor, v: Tensor, mask: Mask, *, bias: Callable[..., Any] | None = None, scale: float | None = None
) -> Tensor:
    """The formula with loops over rows, heads and queries, an explicit softmax over the keys that are allowed."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    added = 0 if bias is None else bias(mask.q_positions[:, :, None], mask.k_positions[:, None, :])
    bias_BHTS = torch.zeros(q.shape[0], q.shape[1], q.shape[2], k.shape[2], dtype=q.dtype) + added
    allowed = mask.dense().expand(q.shape[0], 1, -1, -1)
    heads_per_group = q.shape[1] // k.shape[1]
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=q.dtype)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            keys, values = k[b, h // heads_per_group], v[b, h // heads_per_group]
            for t in range(q.shape[2]):
                seen = allowed[b, 0, t].nonzero()[:, 0]
                if len(seen):
                    scores = keys[seen] @ q[b, h, t] * scale + bias_BHTS[b, h, t, seen]
                    weights = (scores - scores.max()).exp()
                    out[b, h, t] = (weights / weights.sum()) @ values[seen]
    return out


def random_qkv(mask: Mask, groups: int = H, value_width: int = K) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries, keys = mask.q_positions.shape[1], mask.k_positions.shape[1]
    shapes = ((B, H, queries, K), (B, groups, keys, K), (B, groups, keys, value_width))
    q, k, v = (
        torch.randn(shape, generator=generator, dtype=torch.float64).mul(2).requires_grad_(True) for shape in shapes
    )
    return q, k, v


@pytest.mark.parametrize("bias", [None, distance])
@pytest.mark.parametrize("groups", [1, H])
@pytest.mark.parametrize("name", ["causal", "left padding", "last queries", "one query"])
def test_a_prefix_is_seen_by_every_query_without_mask_and_bias(name: str, groups: int, bias: Any) -> None:
    mask = MASKS["causal"] if name == "one query" else MASKS[name]
    if name == "one query":
        mask = replace(mask, q_positions=POSITIONS[:, -1:])
    q, k, v = random_qkv(mask, groups)
    prefix = torch.randn(2, 1, groups, 3, K, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def seen_by_all(q: Tensor, k: Tensor) -> Tensor:
        added = torch.zeros(1, H, 1, 1, dtype=torch.float64) if bias is None else bias(q, k)
        return torch.nn.functional.pad(added.expand(-1, -1, q.shape[1], k.shape[2]), (3, 0))

    out = attend(q, k, v, mask, bias=bias, prefix=(prefix[0], prefix[1]))
    longer_k, longer_v = (torch.cat([p.expand(B, -1, -1, -1), x], dim=2) for p, x in zip(prefix, (k, v), strict=True))
    allowed = torch.nn.functional.pad(mask.dense(), (3, 0), value=True)
    scores = torch.einsum("bhtk,bhsk->bhts", q, longer_k.repeat_interleave(H // groups, dim=1)) / math.sqrt(K)
    scores = scores + seen_by_all(mask.q_positions[:, :, None], mask.k_positions[:, None, :])
    weights = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1)
    torch.testing.assert_close(out, weights @ longer_v.repeat_interleave(H // groups, dim=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"bias": distance}, {"scale": 0.3}], ids=["plain", "bias", "scale"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_attend_is_the_formula(mask: Mask, options: dict[str, Any]) -> None:
    q, k, v = random_qkv(mask)
    out, expected = attend(q, k, v, mask, **options), naive(q, k, v, mask, **options)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    ours, theirs = (torch.autograd.grad(x.square().sum(), (q, k, v)) for x in (out, expected))
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=1e-11)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("mask", [MASKS["causal"], MASKS["left padding"]], ids=["fast", "dense"])
def test_key_heads_serve_neighbouring_query_heads(mask: Mask, groups: int) -> None:
    q, k, v = random_qkv(mask, groups, value_width=3)
    torch.testing.assert_close(attend(q, k, v, mask), naive(q, k, v, mask), rtol=0, atol=1e-12)


def test_the_bias_learns() -> None:
    mask, strength = MASKS["left padding"], torch.ones((), dtype=torch.float64, requires_grad=True)
    q, k, v = random_qkv(mask)
    gradients = [
        torch.autograd.grad(function(q, k, v, mask, bias=lambda *x: strength * distance(*x)).square().sum(), strength)
        for function in (attend, naive)
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)


@pytest.mark.parametrize("bias", [None, distance])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_nothing_to_attend_to_gives_zeros_and_finite_gradients(dtype: torch.dtype, bias: Any) -> None:
    mask = MASKS["nothing to attend to"]
    q, k, v = (x.detach().to(dtype).requires_grad_(True) for x in random_qkv(mask))
    out = attend(q, k, v, mask, bias=bias)
    assert not out[1].any()
    assert out[0].all()
    for gradient in torch.autograd.grad(out.float().square().sum(), (q, k, v)):
        assert gradient.isfinite().all()
        assert not gradient[1].any()


@pytest.mark.parametrize("name", ["causal", "left padding"])
@pytest.mark.parametrize("bias", [None, distance])
def test_autocast_on_the_cpu_rounds_only_what_goes_in_and_comes_out(name: str, bias: Any) -> None:
    q, k, v = (x.detach().to(torch.bfloat16) for x in random_qkv(MASKS[name]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attend(q, k, v, MASKS[name], bias=bias)
    assert out.dtype == torch.bfloat16
    exact = naive(q.double(), k.double(), v.double(), MASKS[name], bias=bias)
    # Half a unit in the last of bfloat16's eight bits: neither the scores nor the bias were rounded on the way.
    torch.testing.assert_close(out.double(), exact, rtol=2**-8, atol=1e-6)


def test_dropout_drops_weights_and_keeps_their_expectation() -> None:
    mask = MASKS["full"]
    q, k, v = (x.detach().float() for x in random_qkv(mask))
    torch.manual_seed(0)
    drawn = torch.stack([attend(q, k, v, mask, dropout=0.5) for _ in range(2000)])
    assert drawn.std(dim=0).min() > 0
    error = (drawn.mean(dim=0) - attend(q, k, v, mask)) / (drawn.std(dim=0) / 2000**0.5)
    assert error.abs().max() < 5
