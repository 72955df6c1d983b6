"""What a pattern saves: sparse attention against causal attention over all pairs, forward and backward.

One row, 4 heads of width 32. Both take turns in one process, so that what else the machine does hits both alike, and a
length's ratio is the median over turns of dense over sparse. Printed as well: how time grows with length, the memory
that is needed at the peak, what a bias costs, what ``attend`` costs by itself, and what a cache holds.

    OMP_NUM_THREADS=2 python benchmarks/attention.py
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from lightning_tx.components.pattern.base import PATTERN
from lightning_tx.components.positions.alibi import Alibi
from lightning_tx.kernels.attend import attend
from lightning_tx.kernels.cache import Cache
from lightning_tx.kernels.masks import Mask
from lightning_tx.model.build import build_model
from lightning_tx.testing.places import dims, site

HEADS, WIDTH = 4, 32
#: Patterns, and the largest exponent of growth from 2,048 to 16,384 tokens.
PATTERNS: dict[str, tuple[dict[str, Any], float]] = {
    "local": ({"name": "local", "window": 256}, 1.2),
    "strided": ({"name": "strided", "stride": 128}, 1.2),
    "fixed": ({"name": "fixed", "block": 128, "summary": 8}, 1.4),
    "global_local": ({"name": "global_local", "window": 256, "num_global": 16}, 1.2),
}
#: Lengths, and how many times faster than over all pairs the first three patterns must be.
LENGTHS = {256: 0.95, 512: 0.95, 1024: 1.0, 2048: 1.0, 8192: 5.0, 16_384: 8.0}

Run = Callable[[], Any]


def inputs(length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as a projection leaves them."""
    q, k, v = (torch.randn(1, length, HEADS, WIDTH).transpose(1, 2).requires_grad_(True) for _ in range(3))
    return q, k, v


def causal(length: int, pattern: Any = None) -> Mask:
    """Who may look at whom in a decoder."""
    positions = torch.arange(length)[None]
    return Mask(q_positions=positions, k_positions=positions, causal=True, in_order=True).within(pattern)


def both_ways(function: Callable[..., Tensor], tensors: tuple[Tensor, ...], **options: Any) -> None:
    """Forward and backward."""
    out = function(*tensors, **options)
    torch.autograd.grad(out, tensors, torch.ones_like(out))


def medians(runs: dict[str, Run], turns: int) -> dict[str, list[float]]:
    """Seconds of each, taking turns; the first turn is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn:
                taken[name].append(time.perf_counter() - began)
    return taken


def ratio(taken: dict[str, list[float]], above: str, below: str) -> float:
    """The median over turns of one time over another of the same turn."""
    return statistics.median(a / b for a, b in zip(taken[above], taken[below], strict=True))


def peak_bytes(run: Run) -> int:
    """The most memory that was held at one time beyond what was held before, as the allocator tells it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    recorded = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in recorded if event.name() == "[memory]")
    return max(itertools.accumulate(change for _, change in changes))


def main() -> int:
    """Measure everything; the exit code is 1 where a figure is not reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="turns at the longest length (default: 5)")
    turns = parser.parse_args().turns
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    missed: list[str] = []

    def show(text: str, value: float, wanted: float, *, at_least: bool) -> None:
        met = value >= wanted if at_least else value <= wanted
        missed.extend([] if met else [text])
        print(f"{text}: {value:.2f} (wanted {'>=' if at_least else '<='} {wanted}){'' if met else '  MISSED'}")

    alibi = Alibi(dims(num_heads=HEADS), site("positions"))
    seconds: dict[str, dict[int, float]] = {name: {} for name in PATTERNS}
    for length, wanted in LENGTHS.items():
        tensors, number = inputs(length), turns * max(1, min(16, 8192 // length))
        patterns = {name: causal(length, PATTERN.create(config)) for name, (config, _) in PATTERNS.items()}
        runs = {"full": partial(both_ways, partial(attend, mask=causal(length)), tensors)}
        runs["sdpa"] = partial(both_ways, partial(F.scaled_dot_product_attention, is_causal=True), tensors)
        runs |= {name: partial(both_ways, partial(attend, mask=mask), tensors) for name, mask in patterns.items()}
        runs |= {
            f"{name} + alibi": partial(both_ways, partial(attend, mask=mask, bias=alibi.bias), tensors)
            for name, mask in patterns.items()
        }
        taken = medians(runs, number)
        print(f"\n{length} tokens: causal over all pairs {1e3 * statistics.median(taken['full']):.1f} ms")
        show("  full, over a direct call of SDPA", ratio(taken, "full", "sdpa"), 1.05, at_least=False)
        for name in PATTERNS:
            seconds[name][length] = statistics.median(taken[name])
            target = wanted if name != "global_local" else min(wanted, 1.0)
            show(f"  {name}: times faster", ratio(taken, "full", name), target, at_least=True)
        if length >= 8192:
            for name in PATTERNS:
                show(f"  {name}: with ALiBi over without", ratio(taken, f"{name} + alibi", name), 2.0, at_least=False)
            dense = peak_bytes(runs["full"])
            for name in PATTERNS:
                show(f"  {name}: added peak memory over full", peak_bytes(runs[name]) / dense, 2.5, at_least=False)
    print("\nGrowth from 2,048 to 16,384 tokens, as an exponent")
    for name, (_, largest) in PATTERNS.items():
        grown = math.log(seconds[name][16_384] / seconds[name][2048]) / math.log(8)
        show(f"  {name}", grown, largest, at_least=False)
    print("\nBytes a cache holds after 512 tokens, over those of mha")
    held = {name: cached_bytes(config) for name, config in CACHES.items()}
    for name, wanted in {"gqa": 0.5, "mqa": 0.25, "latent": 0.4999, "local": 256 / 512}.items():
        show(f"  {name}", held[name] / held["mha"], wanted, at_least=False)
    print("\n" + (f"{len(missed)} figures were not reached." if missed else "All figures were reached."))
    return int(bool(missed))


CACHES: dict[str, dict[str, Any]] = {
    "mha": {"attention": {"name": "multi_head"}},
    "gqa": {"attention": {"name": "multi_head", "num_kv_heads": 2}},
    "mqa": {"attention": {"name": "multi_head", "num_kv_heads": 1}},
    "latent": {"attention": {"name": "latent"}},
    "local": {"attention": {"name": "multi_head"}, "pattern": {"name": "local", "window": 256}},
}


@torch.no_grad()
def cached_bytes(parts: dict[str, Any]) -> int:
    """What the cache of a small decoder holds after 512 tokens, read one by one."""
    names = {"positions": "rope", "pattern": "full", "norm": "rmsnorm", "block": "pre_norm", "feed_forward": "swiglu"}
    sizes = {"d_model": HEADS * WIDTH, "num_heads": HEADS, "num_layers": 2, "vocab_size": 64}
    model = build_model({"model": {"name": "decoder", **sizes}, **{g: {"name": n} for g, n in names.items()}, **parts})
    cache = Cache()
    for token in torch.randint(64, (1, 512)).split(1, dim=1):
        model(token, cache=cache)
    return cache.num_bytes


if __name__ == "__main__":
    raise SystemExit(main())
