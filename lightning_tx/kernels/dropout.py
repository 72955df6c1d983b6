"""Dropout whose random numbers do not cost more than the layer it follows, and dropout of whole rows."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 256


class _WithProbability(nn.Module):
    """What zeroes with a probability ``p`` in training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"p={self.p}"


class Dropout(_WithProbability):
    """Zeroes entries with probability ``p`` in training and scales the others so that their mean stays.

    On the CPU, PyTorch draws a 64-bit number for each entry, on one core: several times the cost of a small linear
    layer. Here one such number serves eight entries, a byte each, so ``p`` is rounded to a multiple of 1/256 (0.1 to
    0.1016, at least 1/256); the scale is that of the rounded probability. On other devices it is PyTorch's dropout.

    Source: Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting.

    Args:
        p: probability of zeroing an entry.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        dropped = min(max(round(self.p * _LEVELS), 1), _LEVELS - 1)
        kept = _random_bytes(x.shape) >= dropped
        return _Masked.apply(x, kept, _LEVELS / (_LEVELS - dropped))


class RowDropout(_WithProbability):
    """Zeroes whole rows of a batch with probability ``p`` in training and scales the others so that their mean stays.

    Args:
        p: probability of zeroing a row.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``, [B, ...]."""
        if not self.training or self.p == 0.0:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) >= self.p
        return x * kept.to(x.dtype) / (1 - self.p)


class _Masked(torch.autograd.Function):
    """``x · kept · scale``; differentiable in ``x``. Saves the mask alone, one byte an entry."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return (x * kept).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (kept,) = ctx.saved_tensors
        return (grads[0] * kept).mul_(ctx.scale), None, None


def _random_bytes(shape: torch.Size) -> Tensor:
    """Independent uniform bytes from the CPU's default generator."""
    count = math.prod(shape)
    words = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.uint8)[:count].view(shape)
