"""Attention shared by processes is that of one process: outputs and gradients, by the naive formula."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from lightning_tx.components.pattern.fixed import Fixed
from lightning_tx.components.pattern.global_local import GlobalLocal
from lightning_tx.components.pattern.local import Local
from lightning_tx.components.pattern.prefix import Prefix
from lightning_tx.components.pattern.strided import Strided
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels import ring, ring_attention
from lightning_tx.kernels.masks import Mask
from lightning_tx.kernels.ring import Ring
from lightning_tx.kernels.scores import Scores
from lightning_tx.model.sharding import shard
from lightning_tx.testing.largest import Largest
from tests import ring as processes

B, T, H, K = 2, 36, 4, 6
EXACT = {"rtol": 0, "atol": 1e-10}


def slopes(q: Tensor, k: Tensor) -> Tensor:
    steepness = torch.tensor([0.5, 0.25, 0.1, 0.05], dtype=torch.float64)[:, None, None]
    return -steepness * (q - k).abs()[..., None, :, :]


def learned(q: Tensor, k: Tensor) -> Tensor:
    return slopes(q, k).requires_grad_(torch.is_grad_enabled())


INDEX = torch.arange(T)[None]
LENGTHS = torch.tensor([[13], [20]])
REAL = (torch.tensor([[0], [16]]) <= INDEX) & (torch.tensor([[30], [T]]) > INDEX)
DOCUMENTS = {"positions": INDEX % LENGTHS, "documents": INDEX // LENGTHS}
PADDING = {"positions": (REAL.long().cumsum(dim=1) - 1).clamp(min=0), "token_mask": REAL}
BOTH = {**DOCUMENTS, "token_mask": REAL}
CASES: dict[str, dict[str, Any]] = {
    "causal": {},
    "encoder": {"causal": False},
    "bias": {"bias": slopes},
    "grouped heads": {"kv_heads": 2, "bias": slopes},
    "one key head": {"kv_heads": 1, "causal": False},
    "wider values": {"value_width": 10},
    "elementary operations": {"fused": False, "bias": slopes, **PADDING},
    "local": {"pattern": Local(window=5)},
    "local encoder": {"pattern": Local(window=5), "causal": False},
    "strided": {"pattern": Strided(stride=4)},
    "fixed encoder": {"pattern": Fixed(block=6, summary=1), "causal": False},
    "global and local": {"pattern": GlobalLocal(window=4, num_global=3), **DOCUMENTS},
    "prefix": {"pattern": Prefix(length=7)},
    "prefixes of documents": {"pattern": Prefix(length=7), **DOCUMENTS},
    "documents": DOCUMENTS,
    "documents of an encoder": {"causal": False, "bias": slopes, **DOCUMENTS},
    "padding": PADDING,
    "padding of an encoder": {"causal": False, **PADDING},
    "padding and documents": {"kv_heads": 2, **BOTH},
    "local with padding and documents": {"pattern": Local(window=3), **BOTH},
    "pieces not in order": {"positions": (INDEX * 5) % T},
    "sinks": {"scores": "sinks", "kv_heads": 2, **PADDING},
    "sinks by elementary operations": {"scores": "sinks", "fused": False, **BOTH},
    "mixed heads and sinks": {"scores": "mixed", "kv_heads": 2, "bias": slopes, **DOCUMENTS},
}


def mixed(scores: Tensor, mix: Tensor) -> Tensor:
    return torch.einsum("hg,...gts->...hts", mix, scores)


def tensors_of(case: dict[str, Any]) -> list[Tensor]:
    """Sinks, and what mixes the heads, as far as a case has them."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"sinks": [(H,)], "mixed": [(H,), (H, H)]}[case["scores"]] if "scores" in case else []
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(True) for shape in shapes]


def scores_of(tensors: list[Tensor]) -> Scores | None:
    if not tensors:
        return None
    return Scores(mixed if tensors[1:] else None, tuple(tensors[1:]), tensors[0])


def mask_of(
    *,
    causal: bool = True,
    pattern: Any = None,
    positions: Tensor = INDEX,
    documents: Tensor | None = None,
    token_mask: Tensor | None = None,
    **_: Any,
) -> Mask:
    return Mask(
        q_positions=positions,
        k_positions=positions,
        causal=causal,
        pattern=pattern,
        q_documents=documents,
        k_documents=documents,
        k_token_mask=token_mask,
    )


def sources(*, kv_heads: int = H, value_width: int = K, **_: Any) -> list[Tensor]:
    """Queries, keys, values and weights of the outputs, of the whole sequence."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, H, T, K), (B, kv_heads, T, K), (B, kv_heads, T, value_width), (B, H, T, value_width)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def along(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    return shard(x.transpose(1, 2), group).transpose(1, 2)


def together(shards: list[Tensor]) -> Tensor:
    """[B, H, T, K] from the processes' parts."""
    halves = [x.chunk(2, dim=2) for x in shards]
    return torch.cat([*(x[0] for x in halves), *(x[1] for x in reversed(halves))], dim=2)


def naive(q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Any, tensors: Sequence[Tensor] = ()) -> Tensor:
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = mixed(scores, tensors[1]) if tensors[1:] else scores
    if bias is not None:
        scores = scores + bias(mask.q_positions[:, :, None], mask.k_positions[:, None])
    allowed = mask.dense()
    scores = scores.masked_fill(~allowed, -1e30)
    if tensors:
        scores = torch.cat([scores, tensors[0][:, None, None].expand_as(scores[..., :1])], dim=-1)
    return scores.softmax(dim=-1)[..., : k.shape[2]] * allowed.any(dim=-1, keepdim=True) @ v


def shared(group: dist.ProcessGroup, case: dict[str, Any]) -> list[Tensor]:
    """Output and gradients of this process's part."""
    ring_attention.HAS_FUSED = case.get("fused", True)
    *qkv, weight = (along(x, group) for x in sources(**case))
    qkv = [x.requires_grad_(True) for x in qkv]
    cut = {name: shard(case[name], group) for name in ("positions", "documents", "token_mask") if name in case} or {
        "positions": shard(INDEX, group)
    }
    own_mask = mask_of(**{**case, **cut, "pattern": None})
    rows = Ring(group, own_mask, B)
    tensors = tensors_of(case)
    options = {"pattern": case.get("pattern"), "bias": case.get("bias"), "scores": scores_of(tensors)}
    out = ring_attention.ring_attention(*qkv, rows, **options)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), [*qkv, *tensors])]


def largest(group: dist.ProcessGroup, fused: bool) -> int:
    """Entries of the largest tensor that a long sequence needs, with a bias a head."""
    ring_attention.HAS_FUSED = fused
    length = 512 * 2 * group.size()
    positions = shard(torch.arange(length)[None], group)
    qkv = [torch.randn(1, 4, positions.shape[1], 8, requires_grad=True) for _ in range(3)]
    with Largest() as made:
        rows = Ring(group, mask_of(positions=positions), 1)
        ring_attention.ring_attention(*qkv, rows, bias=lambda q, k: slopes(q, k).float()).sum().backward()
    return made.numel


def refusals(group: dist.ProcessGroup) -> dict[str, str]:
    positions = shard(INDEX, group)
    rows = Ring(group, mask_of(positions=positions), B)
    qkv = [along(x, group) for x in sources()[:3]]
    tries = {
        "dropout": lambda: ring_attention.ring_attention(*qkv, rows, dropout=0.1),
        "learning bias": lambda: ring_attention.ring_attention(*qkv, rows, bias=learned),
        "tokens": lambda: Ring(group, mask_of(positions=positions[:, : 6 + group.rank()]), B),
        "documents": lambda: Ring(group, mask_of(documents=[None, INDEX, INDEX][group.rank()]), B),
    }
    said = {}
    for name, attempt in tries.items():
        with pytest.raises(ConfigError) as error:
            attempt()
        said[name] = str(error.value)
    with torch.no_grad():  # the bias does not learn here
        ring_attention.ring_attention(*qkv, rows, bias=learned)
    return said


def computed(group: dist.ProcessGroup) -> dict[str, Any]:
    """Which pieces this process computes: (shard, block of queries, block of keys, everything)."""
    plans = {"causal": ({}, None), "local": ({}, Local(window=3)), "documents": ({"documents": INDEX // 18}, None)}
    found = {}
    for name, (rows, pattern) in plans.items():
        mask = mask_of(positions=shard(INDEX, group), **{key: shard(row, group) for key, row in rows.items()})
        own = Ring(group, mask, 1)
        found[name] = [
            (source, piece.queries.start, piece.keys.start, piece.everything)
            for source in range(group.size())
            for piece in own.pieces(source, pattern)
        ]
    return found


def half_precision(group: dist.ProcessGroup) -> list[Tensor]:
    """As in float64, but the tensors are bfloat16 and autocast is on."""
    q, k, v = (along(x, group).bfloat16().requires_grad_(True) for x in sources()[:3])
    own = Ring(group, mask_of(positions=shard(INDEX, group)), B)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = ring_attention.ring_attention(q, k, v, own)
    return [out.detach(), *torch.autograd.grad(out.float().square().sum(), (q, k, v))]


def work(group: dist.ProcessGroup) -> dict[str, Any]:
    plain, has_fused = ring.BLOCK, ring_attention.HAS_FUSED
    found: dict[str, Any] = {}
    for block in (3, plain):  # several pieces of a half; one
        ring.BLOCK = block
        found |= {f"{name} {block}": shared(group, case) for name, case in CASES.items()}
    ring.BLOCK = 256
    found |= {f"largest {fused}": largest(group, fused) for fused in (True, False)}
    ring.BLOCK = plain
    ring_attention.HAS_FUSED = has_fused
    return found | {"refusals": refusals(group), "computed": computed(group), "half": half_precision(group)}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    return processes.run(work, tmp_path_factory.mktemp("ring"))


@pytest.mark.parametrize("size", processes.SIZES)
@pytest.mark.parametrize("block", [3, 1024])
@pytest.mark.parametrize("name", CASES)
def test_shared_attention_is_that_of_one_process(found: Any, name: str, block: int, size: int) -> None:
    case = CASES[name]
    *qkv, weight = sources(**case)
    qkv = [x.requires_grad_(True) for x in qkv]
    tensors = tensors_of(case)
    expected = naive(*qkv, mask_of(**case), case.get("bias"), tensors)
    theirs = [expected, *torch.autograd.grad((expected * weight).sum(), [*qkv, *tensors])]
    shards = [process[f"{name} {block}"] for process in found[size]]
    for ours, their in zip(zip(*shards, strict=True), theirs, strict=True):
        # What all processes have, they share as any parameter: the gradient is the sum of theirs.
        whole = together(list(ours)) if their.ndim == 4 else sum(ours)
        torch.testing.assert_close(whole, their, **EXACT)


@pytest.mark.parametrize("size", processes.SIZES)
@pytest.mark.parametrize("fused", [True, False])
def test_nothing_larger_than_a_few_blocks_is_made(found: Any, fused: bool, size: int) -> None:
    whole, shard_of_whole, heads = (1024 * size) ** 2, 1024**2, 4
    for process in found[size]:
        assert 0 < process[f"largest {fused}"] <= heads * 256**2 < shard_of_whole < whole


@pytest.mark.parametrize("size", processes.SIZES)
def test_the_future_and_what_lies_beyond_a_pattern_is_skipped(found: Any, size: int) -> None:
    half = T // size // 2
    for rank, process in enumerate(found[size]):
        pieces = process["computed"]
        # Of a foreign shard two of four pieces, of the own one three: as much on every process.
        assert len(pieces["causal"]) == 2 * (size - 1) + 3
        assert [piece for piece in pieces["causal"] if not piece[-1]] == [
            (rank, 0, 0, False),
            (rank, half, half, False),
        ]
        # Each half looks at itself and the one before it, which the very first has not.
        assert len(pieces["local"]) == (3 if rank == 0 else 4)
        assert all(source in (rank - 1, rank, rank + 1) for source, *_ in pieces["local"])
        # The documents meet in the middle: each half looks at those of its own document alone.
        assert len(pieces["documents"]) == size + 1
        assert all(queries == keys for _, queries, keys, _ in pieces["documents"])


@pytest.mark.parametrize("size", processes.SIZES)
def test_half_precision_is_widened(found: Any, size: int) -> None:
    q, k, v = (x.bfloat16().double().requires_grad_(True) for x in sources()[:3])
    expected = naive(q, k, v, mask_of(), None)
    theirs = [expected, *torch.autograd.grad(expected.square().sum(), (q, k, v))]
    for ours, their in zip(zip(*(process["half"] for process in found[size]), strict=True), theirs, strict=True):
        assert ours[0].dtype == torch.bfloat16
        torch.testing.assert_close(together(list(ours)).double(), their, rtol=2**-6, atol=2**-6)


@pytest.mark.parametrize("size", processes.SIZES)
def test_what_does_not_go_is_refused_on_every_process(found: Any, size: int) -> None:
    counts = ", ".join(str(6 + rank) for rank in range(size))
    for process in found[size]:
        said = process["refusals"]
        assert said["dropout"].startswith("attention.dropout: 0.1 does not go with")
        assert said["learning bias"].startswith("positions.name: a bias that learns does not go with")
        assert said["tokens"].startswith(f"group: the processes hold {counts} tokens")
        assert said["documents"].startswith("group: the processes hold 0, 1") and "documents" in said["documents"]
