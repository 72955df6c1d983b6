"""Which kernel a case takes; and every kernel whose condition holds computes the formula."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.components.pattern.base import PATTERN
from lightning_tx.kernels.attend import KERNELS, attend, kernel_for
from lightning_tx.kernels.dense_attention import CAUSAL, UNMASKED
from lightning_tx.kernels.kernel import Case
from lightning_tx.kernels.masks import Mask
from lightning_tx.kernels.scores import Scores, soft_cap

H, K = 4, 6
CAP, SINKS = soft_cap(2.0), Scores(sinks=torch.tensor([0.3, -0.5, 1.2, 0.0], dtype=torch.float64))
LOCAL, STRIDED = {"name": "local", "window": 20}, {"name": "strided", "stride": 32}
PREFIX = {"name": "prefix", "length": 3}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of case and the kernel it takes; ``queries`` are the last of the tokens, None for all of them."""

    kernel: str
    length: int = 8
    queries: int | None = None
    causal: bool = True
    pattern: dict[str, Any] | None = None
    padding: Callable[[Tensor], Tensor] | None = None
    document: int | None = None
    bias: Callable[[Tensor, Tensor], Tensor | None] | None = None
    num_kv_heads: int = H
    forgotten: int = 0
    prefix: bool = False
    dropout: float = 0.0
    scores: Scores | None = None
    device: str = "cpu"

    def mask(self) -> Mask:
        """Who may attend to whom."""
        index = torch.arange(self.length, device=self.device)[None]
        known: dict[str, Any] = {"k_positions": index, "in_order": self.padding is None and self.document is None}
        if self.padding is not None:
            real = self.padding(index)
            known |= {"k_token_mask": real, "k_positions": (real.long().cumsum(dim=1) - 1).clamp(min=0)}
        last = slice(-(self.queries or self.length), None)
        if self.document is not None:
            documents = index // self.document
            known |= {"k_positions": index % self.document, "k_documents": documents}
            known |= {"q_documents": documents[:, last]}
        mask = Mask(q_positions=known["k_positions"][:, last], causal=self.causal, **known)
        return mask.within(None if self.pattern is None else PATTERN.create(self.pattern))

    def arguments(self) -> dict[str, Any]:
        """Those of ``attend``."""
        generator = torch.Generator().manual_seed(0)
        queries, keys, groups = self.queries or self.length, self.length - self.forgotten, self.num_kv_heads
        shapes = ((2, H, queries), (2, groups, keys), (2, groups, keys), (1, groups, 3), (1, groups, 3))
        q, k, v, *before = (
            torch.randn(*shape, K, generator=generator, dtype=torch.float64).to(self.device) for shape in shapes
        )
        prefix = (before[0], before[1]) if self.prefix else None
        known = {"mask": self.mask(), "bias": self.bias, "prefix": prefix, "dropout": self.dropout}
        known["scores"] = self.scores
        return {"q_BHTK": q, "k_BGSK": k, "v_BGSK": v, **known}


def slopes(q: Tensor, k: Tensor) -> Tensor:
    steepness = torch.tensor([0.5, 0.25, 0.1, 0.05], dtype=torch.float64)[:, None, None]
    return -steepness * (q - k).abs()[..., None, :, :]


def learned(q: Tensor, k: Tensor) -> Tensor:
    return torch.ones((), dtype=torch.float64, requires_grad=True) * slopes(q, k)


def nothing(q: Tensor, k: Tensor) -> None:
    return None


def left(index: Tensor) -> Tensor:
    return index >= torch.tensor([[0], [3]])


def right(index: Tensor) -> Tensor:
    return index < torch.tensor([[8], [3]])


def middle(index: Tensor) -> Tensor:
    return (index < 30) | (index > 40)


KINDS = {
    "causal": Kind(kernel="causal"),
    "causal, long": Kind(kernel="causal", length=1100),
    "causal, heads that share keys": Kind(kernel="causal", num_kv_heads=2),
    "causal, a bias of nothing": Kind(kernel="causal", bias=nothing),
    "causal, dropout": Kind(kernel="causal", dropout=0.1),
    "bidirectional": Kind(kernel="unmasked", causal=False),
    "bidirectional, prefix": Kind(kernel="unmasked", causal=False, prefix=True),
    "bidirectional, padding": Kind(kernel="masked", causal=False, padding=right),
    "left padding": Kind(kernel="masked", padding=left),
    "left padding, long": Kind(kernel="masked", padding=left, length=300),
    "packed documents": Kind(kernel="masked", document=5),
    "packed documents, long": Kind(kernel="masked", document=100, length=300),
    "bias": Kind(kernel="masked", bias=slopes),
    "bias, long": Kind(kernel="chunked", bias=slopes, length=256),
    "bidirectional, bias": Kind(kernel="masked", bias=slopes, length=256, causal=False),
    "prefix": Kind(kernel="masked", prefix=True),
    "prefix, long": Kind(kernel="masked", prefix=True, length=256),
    "prefix language model": Kind(kernel="prefix_lm", pattern=PREFIX),
    "prefix language model, long": Kind(kernel="prefix_lm", pattern=PREFIX, length=1100),
    "prefix language model, all of it prefix": Kind(kernel="prefix_lm", pattern=PREFIX, length=2),
    "prefix language model, bias": Kind(kernel="masked", pattern=PREFIX, bias=slopes, length=256),
    "prefix language model, packed documents": Kind(kernel="masked", pattern=PREFIX, document=5),
    "pattern": Kind(kernel="masked", pattern=STRIDED),
    "pattern, from 256 tokens": Kind(kernel="chunked", pattern=LOCAL, length=256),
    "pattern, bidirectional": Kind(kernel="masked", pattern=LOCAL, length=256, causal=False),
    "pattern, nearly as long": Kind(kernel="chunked", pattern=LOCAL | {"window": 300}, length=1100),
    "pattern, long": Kind(kernel="sparse_fused", pattern=LOCAL, length=1100),
    "pattern, long, bidirectional": Kind(kernel="sparse_fused", pattern=STRIDED, length=1100, causal=False),
    "pattern, long, packed documents": Kind(kernel="sparse_fused", pattern=LOCAL, length=1100, document=400),
    "pattern, long, left padding": Kind(kernel="sparse_fused", pattern=LOCAL, length=1100, padding=left),
    "pattern, long, padding in the middle": Kind(kernel="masked", pattern=LOCAL, length=1100, padding=middle),
    "pattern, long, bias": Kind(kernel="sparse_fused", pattern=STRIDED, length=1100, bias=slopes),
    "pattern, long, a bias that learns": Kind(kernel="sparse", pattern=STRIDED, length=1100, bias=learned),
    "pattern, long, prefix": Kind(kernel="sparse_fused", pattern=LOCAL, length=1100, prefix=True, num_kv_heads=2),
    "pattern, long, dropout": Kind(kernel="sparse", pattern=LOCAL, length=1100, dropout=0.1),
    "pattern, long, another device": Kind(kernel="sparse", pattern=LOCAL, length=1100, device="meta"),
    "pattern, long, after a cache": Kind(kernel="masked", pattern=STRIDED, length=1100, queries=40),
    "decoding step": Kind(kernel="unmasked", queries=1),
    "decoding step, bias": Kind(kernel="masked", queries=1, bias=slopes, num_kv_heads=2),
    "decoding step, padding": Kind(kernel="masked", queries=1, padding=left),
    "decoding step, pattern": Kind(kernel="masked", queries=1, pattern=STRIDED),
    "decoding step, a cache that forgets": Kind(kernel="masked", queries=1, length=40, pattern=LOCAL, forgotten=20),
    "decoding step, heads that share keys": Kind(kernel="grouped_decoding", queries=1, num_kv_heads=2),
    "decoding step, one key head, padding": Kind(kernel="grouped_decoding", queries=1, num_kv_heads=1, padding=left),
    "decoding step, key heads, prefix": Kind(kernel="grouped_decoding", queries=1, num_kv_heads=2, prefix=True),
    "several new tokens": Kind(kernel="masked", queries=3),
    "several new tokens, heads that share keys": Kind(kernel="masked", queries=3, num_kv_heads=2),
    "the first token": Kind(kernel="unmasked", length=1),
    "soft cap": Kind(kernel="causal", scores=CAP, num_kv_heads=2),
    "soft cap, bidirectional, prefix": Kind(kernel="unmasked", scores=CAP, causal=False, prefix=True, num_kv_heads=2),
    "soft cap, left padding": Kind(kernel="masked", scores=CAP, padding=left),
    "soft cap, bias, long": Kind(kernel="chunked", scores=CAP, bias=slopes, length=256),
    "soft cap, prefix language model": Kind(kernel="prefix_lm", scores=CAP, pattern=PREFIX),
    "soft cap, pattern, long": Kind(kernel="sparse", scores=CAP, pattern=LOCAL, length=1100),
    "soft cap, decoding step": Kind(kernel="unmasked", scores=CAP, queries=1, num_kv_heads=2),
    "sinks": Kind(kernel="causal", scores=SINKS, num_kv_heads=2),
    "sinks, bidirectional, prefix": Kind(kernel="unmasked", scores=SINKS, causal=False, prefix=True, num_kv_heads=2),
    "sinks, left padding": Kind(kernel="masked", scores=SINKS, padding=left),
    "sinks, packed documents": Kind(kernel="masked", scores=SINKS, document=5),
    "sinks, bias, long": Kind(kernel="chunked", scores=SINKS, bias=slopes, length=256),
    "sinks, a bias that learns": Kind(kernel="masked", scores=SINKS, bias=learned),
    "sinks, prefix language model": Kind(kernel="prefix_lm", scores=SINKS, pattern=PREFIX),
    "sinks, pattern, long": Kind(kernel="sparse_fused", scores=SINKS, pattern=LOCAL, length=1100),
    "sinks, pattern, long, bias": Kind(kernel="sparse", scores=SINKS, pattern=STRIDED, length=1100, bias=learned),
    "sinks, decoding step": Kind(kernel="unmasked", scores=SINKS, queries=1, num_kv_heads=2),
    "sinks, decoding step, padding": Kind(kernel="masked", scores=SINKS, queries=1, num_kv_heads=2, padding=left),
    "sinks, dropout": Kind(kernel="causal", scores=SINKS, dropout=0.1),
}


def naive(case: Case) -> Tensor:
    """The formula over all pairs."""
    extra = 0 if case.prefix is None else case.prefix[0].shape[2]
    sources = [case.k, case.v]
    if case.prefix is not None:
        sources = [torch.cat([p.expand(2, -1, -1, -1), x], dim=2) for p, x in zip(case.prefix, sources, strict=True)]
    k, v = (x.repeat_interleave(H // x.shape[1], dim=1) for x in sources)
    added = None if case.bias is None else case.bias(case.mask.q_positions[:, :, None], case.mask.k_positions[:, None])
    scores = case.q @ k.mT * case.scale
    scores = 2 * torch.tanh(scores / 2) if case.scores is CAP else scores
    scores = scores + (0 if added is None else F.pad(added, (extra, 0)))
    allowed = F.pad(case.mask.dense(), (extra, 0), value=True)
    scores = scores.masked_fill(~allowed, -1e30)
    if case.scores is not None and case.scores.sinks is not None:
        scores = torch.cat([scores, case.scores.sinks[:, None, None].expand_as(scores[..., :1])], dim=-1)
    weights = scores.softmax(dim=-1)[..., : k.shape[2]]
    return weights * allowed.any(dim=-1, keepdim=True) @ v


def require_formula(case: Case) -> None:
    """What every kernel whose condition holds computes, whether or not one above would be taken."""
    expected, mask = naive(case), case.mask
    # What padding itself looks at is not specified.
    real = torch.ones(1) if mask.k_token_mask is None else mask.k_token_mask[:, None, -case.q.shape[2] :, None]
    for kernel in KERNELS:
        if kernel.applies(case):
            message = partial("{}: {}".format, kernel.name)
            torch.testing.assert_close(kernel.run(case) * real, expected * real, rtol=0, atol=1e-12, msg=message)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_case_takes_its_kernel(kind: Kind, autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def recorded(kernel: Any) -> Any:
        return replace(kernel, run=lambda case: (taken.append(kernel.name), case.q)[1])

    monkeypatch.setattr("lightning_tx.kernels.attend.KERNELS", tuple(map(recorded, KERNELS)))
    with torch.autocast("cpu", dtype=torch.bfloat16) if autocast else nullcontext():
        assert kernel_for(**kind.arguments()) == kind.kernel
        attend(**kind.arguments())
    assert taken == [kind.kernel]


def test_a_bias_does_not_learn_without_gradients() -> None:
    kind = KINDS["pattern, long, a bias that learns"]
    with torch.no_grad():
        assert kernel_for(**kind.arguments()) == "sparse_fused"


def test_every_kernel_is_taken_by_some_case_and_the_last_by_any() -> None:
    names = [kernel.name for kernel in KERNELS]
    assert len(set(names)) == len(names)
    assert {kind.kernel for kind in KINDS.values()} == set(names)
    assert all(KERNELS[-1].applies(case_of(kind)) for kind in KINDS.values())


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.dropout and kind.device == "cpu"])
def test_every_kernel_that_applies_computes_the_formula(name: str) -> None:
    require_formula(case_of(KINDS[name]))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(4, 4), (1, 4), (2, 4), (1, 1)])
@pytest.mark.parametrize("groups", [H, 2])
@pytest.mark.parametrize("restriction", ["none", "pattern", "prefix language model", "left padding", "documents"])
def test_what_is_chosen_by_without_looking_is_true(
    causal: bool, in_order: bool, queries: int, keys: int, groups: int, restriction: str, monkeypatch: Any
) -> None:
    # Short sequences too.
    monkeypatch.setattr("lightning_tx.kernels.dense_attention.SMALLEST_CHUNKED", 1)
    restrictions: dict[str, dict[str, Any]] = {
        "none": {},
        "pattern": {"pattern": {"name": "strided", "stride": 2}},
        "prefix language model": {"pattern": PREFIX},
        "left padding": {"padding": left},
        "documents": {"document": 2},
    }
    known = {"queries": queries, "length": keys, "causal": causal, "num_kv_heads": groups}
    case = case_of(Kind(kernel="", **known, **restrictions[restriction]))
    case.mask = replace(case.mask, in_order=case.mask.in_order and in_order)
    require_formula(case)
    free = restriction == "none"
    assert CAUSAL.applies(case) == (causal and in_order and queries == keys and free)
    assert UNMASKED.applies(case) == ((not causal or (in_order and queries == 1)) and free)


def case_of(kind: Kind) -> Case:
    """What ``attend`` asks the kernels about."""
    given = kind.arguments()
    q, k, v = (given[name] for name in ("q_BHTK", "k_BGSK", "v_BGSK"))
    mask = given["mask"].last_keys(k.shape[2])
    return Case(q, k, v, mask, given["bias"], given["prefix"], 1 / math.sqrt(K), given["dropout"], kind.scores)
