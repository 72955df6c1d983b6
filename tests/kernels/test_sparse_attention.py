import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.components.pattern.base import PATTERN
from lightning_tx.kernels import sparse_attention
from lightning_tx.kernels.attend import attend
from lightning_tx.kernels.kernel import Case
from lightning_tx.kernels.masks import Mask
from lightning_tx.testing.largest import Largest

B, H, K = 2, 4, 6
PATTERNS: dict[str, dict[str, Any]] = {
    "local": {"name": "local", "window": 7},
    "local wider than a block": {"name": "local", "window": 100},
    "strided": {"name": "strided", "stride": 8},
    "fixed": {"name": "fixed", "block": 16, "summary": 2},
    "global_local": {"name": "global_local", "window": 5, "num_global": 3},
}


def padding(length: int) -> dict[str, Any]:
    real = torch.arange(length)[None] >= torch.tensor([[0], [40]])
    positions = (real.long().cumsum(dim=1) - 1).clamp(min=0)
    return {"q_positions": positions, "k_positions": positions, "k_token_mask": real}


def documents(length: int) -> dict[str, Any]:
    index, lengths = torch.arange(length)[None], torch.tensor([[50], [77]])
    numbers, positions = index // lengths, index % lengths
    return {"q_positions": positions, "k_positions": positions, "q_documents": numbers, "k_documents": numbers}


def plain(length: int) -> dict[str, Any]:
    positions = torch.arange(length)[None]
    return {"q_positions": positions, "k_positions": positions, "in_order": True}


def slopes(q: Tensor, k: Tensor) -> Tensor:
    steepness = torch.tensor([0.5, 0.25, 0.1, 0.05], dtype=torch.float64)[:, None, None]
    return -steepness * (q - k).abs()[..., None, :, :]


def naive(q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Any = None) -> Tensor:
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias(mask.q_positions[:, :, None], mask.k_positions[:, None])
    allowed = mask.dense()
    weights = scores.masked_fill(~allowed, -1e30).softmax(dim=-1) * allowed.any(dim=-1, keepdim=True)
    return weights @ v


def random_qkv(length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (B, length, H, K)
    return [torch.randn(shape, generator=generator, dtype=dtype).transpose(1, 2).requires_grad_(True) for _ in range(3)]


@pytest.fixture(autouse=True)
def short_sequences_are_split_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_tx.kernels.sparse_attention.WORTH_SPLITTING", (1, 0))
    monkeypatch.setattr("lightning_tx.kernels.sparse_layout.CHUNK", 48)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("bias", [None, slopes])
@pytest.mark.parametrize("tokens", [plain, padding, documents])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("config", PATTERNS.values(), ids=PATTERNS)
def test_parts_give_what_the_dense_formula_gives(
    config: dict[str, Any], causal: bool, tokens: Any, bias: Any, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_attention, "HAS_FUSED", sparse_attention.HAS_FUSED and fused)
    for length in (192, 150):
        mask = Mask(causal=causal, pattern=PATTERN.create(config), **tokens(length))
        q, k, v = random_qkv(length)
        with monkeypatch.context() as patch:
            patch.delattr(Mask, "dense")
            out = attend(q, k, v, mask, bias=bias)
        expected = naive(q, k, v, mask, bias)
        # What padding itself looks at is not specified.
        real = torch.ones(1) if mask.k_token_mask is None else mask.k_token_mask[:, None, :, None]
        torch.testing.assert_close(out * real, expected * real, rtol=0, atol=1e-12)
        weight = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * real
        ours, theirs = (torch.autograd.grad((x * weight).sum(), (q, k, v)) for x in (out, expected))
        for our, their in zip(ours, theirs, strict=True):
            torch.testing.assert_close(our, their, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("groups", [2, H])
@pytest.mark.parametrize("config", [PATTERNS["local"], PATTERNS["fixed"]], ids=["local", "fixed"])
def test_a_prefix_is_seen_from_everywhere(
    config: dict[str, Any], groups: int, causal: bool, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_attention, "HAS_FUSED", sparse_attention.HAS_FUSED and fused)
    mask = Mask(causal=causal, pattern=PATTERN.create(config), **documents(150))
    q, k, v = random_qkv(150)
    k, v = k[:, :groups], v[:, :groups]
    generator = torch.Generator().manual_seed(2)
    shape = (1, groups, 3, K)
    prefix = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(True) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.delattr(Mask, "dense")
        out = attend(q, k, v, mask, prefix=(prefix[0], prefix[1]), bias=slopes)
    keys, values = (torch.cat([p.expand(B, -1, -1, -1), x], dim=2) for p, x in zip(prefix, (k, v), strict=True))
    keys, values = (x.repeat_interleave(H // groups, dim=1) for x in (keys, values))
    scores = q @ keys.transpose(-1, -2) / math.sqrt(K)
    scores = scores + F.pad(slopes(mask.q_positions[:, :, None], mask.k_positions[:, None]), (3, 0))
    expected = scores.masked_fill(~F.pad(mask.dense(), (3, 0), value=True), float("-inf")).softmax(dim=-1) @ values
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    inputs = [q, k, v, *prefix]
    ours, theirs = (torch.autograd.grad(x.square().sum(), inputs, retain_graph=True) for x in (out, expected))
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=1e-11)


def test_a_bias_learns_through_the_parts() -> None:
    strength = torch.ones((), dtype=torch.float64, requires_grad=True)
    mask = Mask(causal=True, pattern=PATTERN.create(PATTERNS["fixed"]), **documents(150))
    q, k, v = random_qkv(150)
    gradients = [
        torch.autograd.grad(function(q, k, v, mask, bias=lambda *x: strength * slopes(*x)).square().sum(), strength)[0]
        for function in (attend, naive)
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


def test_dropout_drops_weights_and_keeps_their_expectation() -> None:
    mask = Mask(causal=True, pattern=PATTERN.create(PATTERNS["strided"]), **plain(64))
    q, k, v = (x.detach().float() for x in random_qkv(64))
    torch.manual_seed(0)
    drawn = torch.stack([attend(q, k, v, mask, dropout=0.5) for _ in range(300)])
    error = (drawn.mean(dim=0) - attend(q, k, v, mask))[:, :, 1:] / (drawn.std(dim=0)[:, :, 1:] / 300**0.5)
    assert drawn.std(dim=0)[:, :, 1:].min() > 0
    assert error.abs().max() < 6


def test_padding_in_the_middle_of_a_row_takes_the_dense_path() -> None:
    real = torch.ones(1, 150, dtype=torch.bool)
    real[0, 60:90] = False
    positions = real.long().cumsum(dim=1) - 1
    mask = Mask(
        q_positions=positions,
        k_positions=positions,
        k_token_mask=real,
        causal=True,
        pattern=PATTERN.create(PATTERNS["local"]),
    )
    q, k, v = random_qkv(150)
    torch.testing.assert_close(attend(q, k, v, mask), naive(q, k, v, mask), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_is_widened_on_the_cpu(dtype: torch.dtype) -> None:
    mask = Mask(causal=True, pattern=PATTERN.create(PATTERNS["local"]), **plain(192))
    q, k, v = (x.detach().to(dtype) for x in random_qkv(192))
    out = attend(q, k, v, mask)
    assert out.dtype == dtype
    exact = naive(q.double(), k.double(), v.double(), mask)
    torch.testing.assert_close(out.double(), exact, rtol=2**-8 if dtype == torch.bfloat16 else 0, atol=1e-5)


def test_elementary_operations_sum_in_float32_where_a_device_multiplies_in_half() -> None:
    mask = Mask(causal=True, pattern=PATTERN.create(PATTERNS["fixed"]), **plain(192))
    q, k, v = (x.detach().to(torch.bfloat16) for x in random_qkv(192))
    assert mask.pattern is not None
    layout = sparse_attention.Layout(mask.pattern.parts(), mask)
    masks = [lambda piece=piece: layout.mask(piece, slopes, torch.float32) for piece in layout.pieces]
    sources = [k, v, *(pick(x) for pick in layout.columns for x in (k, v))]
    case = Case(q, k, v, mask, slopes, None, K**-0.5, 0.0)
    out = sparse_attention._merged(case, layout.pieces, masks, q, sources)
    assert out.dtype == torch.bfloat16
    exact = naive(q.double(), k.double(), v.double(), mask, slopes)
    # Scores of a few units and weights are rounded to eight bits on their way.
    assert (out.double() - exact).abs().max() < 0.05


@pytest.mark.parametrize("config", PATTERNS.values(), ids=PATTERNS)
def test_nothing_of_the_size_of_all_pairs_is_made(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    length = 4096
    mask = Mask(causal=True, pattern=PATTERN.create(config), **plain(length))
    q, k, v = (torch.randn(1, 1, length, 8, requires_grad=True) for _ in range(3))
    with Largest() as made:
        attend(q, k, v, mask).sum().backward()
    assert made.numel < length * length / 8
