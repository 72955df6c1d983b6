"""What stands between the scaled scores of attention and its softmax: a change of the scores, and sinks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_tx.kernels.autocast import without_autocast

#: ``pull(grad)`` gives the gradients of the scores before a change, and of each tensor that takes part in it.
Pullback = Callable[[Tensor], tuple[Tensor, ...]]


@dataclass(frozen=True, eq=False)
class Scores:
    """What happens to the scaled scores before the softmax, told to :func:`lightning_tx.kernels.attend.attend`.

    Kernels compute scores in blocks, and again in the backward pass, so a change may be called any number of times,
    each time with all heads of some queries and some keys; it must not look at which these are.

    Attributes:
        change: ``(scores [..., H, t, s], *tensors)`` to as many scores, before bias and mask; elementwise, or mixing
            heads. None to leave them as they are.
        tensors: what else ``change`` takes, in float32 at least; gradients reach them.
        sinks: for each head a score [H] that takes part in the softmax and has the value zero; None for none.
    """

    change: Callable[..., Tensor] | None = None
    tensors: tuple[Tensor, ...] = ()
    sinks: Tensor | None = None

    def to(self, dtype: torch.dtype) -> "Scores":
        """The same with its tensors in a dtype."""
        sinks = None if self.sinks is None else self.sinks.to(dtype)
        return Scores(self.change, tuple(tensor.to(dtype) for tensor in self.tensors), sinks)

    def changed(self, scores: Tensor) -> Tensor:
        """The scores after the change."""
        if self.change is None:
            return scores
        with without_autocast(scores.device):
            return self.change(scores, *self.tensors)

    def changed_with_pullback(self, scores: Tensor) -> tuple[Tensor, Pullback]:
        """The scores after the change, a tensor of their own, and their way back to gradients.

        For backward passes that are written out.
        """
        if self.change is None:
            return scores, lambda grad: (grad,)
        with torch.enable_grad(), without_autocast(scores.device):
            before = scores.detach().requires_grad_()
            learning = [tensor.detach().requires_grad_() for tensor in self.tensors]
            after = self.change(before, *learning)
        return after.detach().clone(), lambda grad: torch.autograd.grad(
            after, (before, *learning), grad, materialize_grads=True
        )


def soft_cap(cap: float) -> Scores:
    """Scores held within ``±cap`` by ``cap · tanh(score / cap)``.

    Source: Bello et al. 2016, arXiv:1611.09940; in attention: Gemma Team 2024, arXiv:2408.00118.
    """
    return Scores(partial(capped, cap=cap))


def capped(x: Tensor, cap: float) -> Tensor:
    """``cap · tanh(x / cap)``, as exact as a number of the size of ``cap`` is in the dtype of ``x``."""
    return _Capped.apply(x, cap)  # pyright: ignore[reportReturnType]


class _Capped(torch.autograd.Function):
    # tanh(x) = 2 sigmoid(2x) - 1, and on the CPU a sigmoid takes a tenth of the time.

    @staticmethod
    def forward(ctx: Any, x: Tensor, cap: float) -> Tensor:
        share = (x * (2 / cap)).sigmoid_()
        ctx.save_for_backward(share)
        return (share - 0.5).mul_(2 * cap)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (share,) = ctx.saved_tensors
        return torch.ops.aten.sigmoid_backward(grads[0], share).mul_(4), None
