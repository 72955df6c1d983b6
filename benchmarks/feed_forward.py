"""What choosing costs: a mixture of experts against a dense feed-forward that does as many operations a token.

8 experts of which each token takes 2, each half as wide as the dense layer; 4,096 tokens of width 256; forward and
backward. Both take turns in one process, so that what else the machine does hits both alike. Printed is the ratio of
median times, mixture over dense.

    OMP_NUM_THREADS=2 python benchmarks/feed_forward.py
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_tx.components.feed_forward.base import FEED_FORWARD
from lightning_tx.core.context import Context
from lightning_tx.core.dims import Dims
from lightning_tx.testing.places import context, dims, site

ROWS, LENGTH = 8, 512
NUM_EXPERTS, TOP_K = 8, 2
DIMS = dims(d_model=256, num_heads=4, head_dim=64, d_ff=1024, max_seq_len=LENGTH)
#: The shape of a feed-forward, whether in bfloat16, and the ratio that must be held.
SETTINGS = [("relu", False, 1.3), ("swiglu", False, 1.15), ("relu", True, 2.3), ("swiglu", True, 1.9)]


def built(config: dict[str, Any], sizes: Dims) -> nn.Module:
    """A feed-forward with weights as at the start of training."""
    layer = FEED_FORWARD.create(config, sizes, site("feed_forward"))
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return layer


def step(layer: nn.Module, x_BTD: Tensor, ctx: Context, bf16: bool) -> None:
    """Forward and backward, auxiliary losses included."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = layer(x_BTD, ctx)
    objective = output.x.float().square().mean() + sum(value * weight for value, weight in output.losses.values())
    objective.backward()
    layer.zero_grad()


def seconds(run: Callable[[], None]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> int:
    """Measure every setting; the exit code is 1 where a ratio is not held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=30, help="turns of each side (default: 30)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    ctx = context(LENGTH)
    x_BTD = torch.randn(ROWS, LENGTH, DIMS.d_model, requires_grad=True)
    print(f"{ROWS * LENGTH} tokens, {torch.get_num_threads()} threads, torch {torch.__version__}")
    missed = 0
    for shape, bf16, wanted in SETTINGS:
        dense = built({"name": shape}, DIMS)
        moe = {"name": "moe", "num_experts": NUM_EXPERTS, "top_k": TOP_K, "expert": {"name": shape}}
        mixture = built(moe, replace(DIMS, d_ff=DIMS.d_ff // TOP_K))
        times: dict[nn.Module, list[float]] = {dense: [], mixture: []}
        for turn in range(-3, arguments.turns):
            for layer, taken in times.items():
                found = seconds(lambda layer=layer, bf16=bf16: step(layer, x_BTD, ctx, bf16))
                if turn >= 0:
                    taken.append(found)
        ours, theirs = statistics.median(times[mixture]), statistics.median(times[dense])
        missed += ours / theirs > wanted
        print(
            f"{shape} {'bf16' if bf16 else 'fp32'}: dense {1e3 * theirs:.1f} ms, mixture {1e3 * ours:.1f} ms, "
            f"ratio {ours / theirs:.2f} (wanted {wanted})"
        )
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
