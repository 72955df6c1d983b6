"""What a soft cap and sinks cost: attention forward and backward, against the same without them.

All take turns in one process, so that what else the machine does hits all alike; the ratios are those of the medians.
"fused" is PyTorch's causal kernel, "given a mask" the same kernel with the mask as a tensor, and "elementary" a softmax
over all pairs, differentiated by autograd.

    OMP_NUM_THREADS=2 python benchmarks/scores.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.kernels.attend import attend
from lightning_tx.kernels.masks import Mask
from lightning_tx.kernels.scores import Scores, soft_cap

#: Rows, heads, tokens and width of a head.
SHAPES = ((8, 4, 256, 32), (1, 4, 2048, 64), (32, 4, 128, 32))


def ways(rows: int, heads: int, length: int, width: int) -> dict[str, Callable[[], Tensor]]:
    """What is compared, by name; each runs forward and backward."""
    q, k, v = (torch.randn(rows, length, heads, width).transpose(1, 2).requires_grad_(True) for _ in range(3))
    at, sinks = torch.arange(length)[None], torch.zeros(heads, requires_grad=True)
    mask = Mask(q_positions=at, k_positions=at, causal=True, in_order=True)
    hidden = torch.full((length, length), float("-inf")).triu(1)
    cap = soft_cap(50.0)
    outputs: dict[str, Callable[[], Tensor]] = {
        "fused": lambda: attend(q, k, v, mask),
        "given a mask": lambda: F.scaled_dot_product_attention(q, k, v, hidden),
        "elementary": lambda: (q @ k.mT * width**-0.5 + hidden).softmax(dim=-1) @ v,
        "soft cap": lambda: attend(q, k, v, mask, scores=cap),
        "sinks": lambda: attend(q, k, v, mask, scores=Scores(sinks=sinks)),
        "both": lambda: attend(q, k, v, mask, scores=Scores(cap.change, sinks=sinks)),
    }
    grad = torch.randn(rows, length, heads, width).transpose(1, 2)
    return {name: lambda run=run: torch.autograd.grad(run(), (q, k, v), grad)[0] for name, run in outputs.items()}


def main() -> None:
    """Print a table of ratios for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=21)
    turns = parser.parse_args().turns
    for shape in SHAPES:
        runs = ways(*shape)
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(turns + 1):
            for name, run in runs.items():
                began = time.perf_counter()
                run()
                if turn:  # the first is not counted
                    taken[name].append(time.perf_counter() - began)
        median = {name: statistics.median(seconds) for name, seconds in taken.items()}
        print("{} rows, {} heads, {} tokens, width {}".format(*shape))
        for name, seconds in median.items():
            ratios = "  ".join(f"{seconds / median[of]:5.2f} × {of}" for of in ("fused", "given a mask", "elementary"))
            print(f"  {name:<13}{1e3 * seconds:7.1f} ms  {ratios}")


if __name__ == "__main__":
    main()
