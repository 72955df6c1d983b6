"""Several linear layers of one shape, each for rows of its own: what experts are made of."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from lightning_tx.kernels.autocast import autocast_dtype


class GroupedLinear(nn.Module):
    """``num_groups`` linear layers whose weights lie in one tensor; each maps the rows that belong to its group.

    Attributes:
        weight: [E, out, in].
        bias: [E, out], or None.
    """

    def __init__(self, num_groups: int, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.num_groups, self.in_features, self.out_features = num_groups, in_features, out_features
        self.weight = nn.Parameter(torch.zeros(num_groups, out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(num_groups, out_features)) if bias else None

    def forward(self, x_NI: Tensor, counts_E: Tensor) -> Tensor:
        """Rows [N, in], sorted by group, to [N, out]; see :func:`grouped_linear`."""
        return grouped_linear(x_NI, self.weight, counts_E, self.bias)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        sizes = f"num_groups={self.num_groups}, in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


def grouped_linear(x_NI: Tensor, weight_EOI: Tensor, counts_E: Tensor, bias_EO: Tensor | None = None) -> Tensor:
    """``x weightᵀ + bias``, each row with the weight and the bias of its group.

    Under autocast it runs in autocast's dtype, as ``nn.Linear`` does. A group without rows gets a gradient of zero.

    Args:
        x_NI: rows, sorted by group.
        weight_EOI: one weight a group.
        counts_E: how many rows each group has, int64. Rows beyond their sum belong to none and give zeros. Numbers on
            the CPU spare a GPU from being waited for.
        bias_EO: one bias a group; None for none.

    Returns:
        [N, out].
    """
    dtype = autocast_dtype(x_NI.device)
    if dtype is not None:
        x_NI, weight_EOI = x_NI.to(dtype), weight_EOI.to(dtype)
        bias_EO = None if bias_EO is None else bias_EO.to(dtype)
    return _grouped_product(x_NI, weight_EOI, bias_EO, counts_E)


# How many rows a group has is known at run time only. Two operators hide that from whoever traces the model: the
# product, and the sum over rows of outer products. Each one's gradient is made of the two.


@torch.library.custom_op("lightning_tx::grouped_product", mutates_args=())
def _grouped_product(x_NI: Tensor, weight_EOI: Tensor, bias_EO: Tensor | None, counts_E: Tensor) -> Tensor:
    out_NO = x_NI.new_empty(x_NI.shape[0], weight_EOI.shape[1])
    start = 0
    for group, count in enumerate(counts_E.tolist()):
        rows = slice(start, start + count)
        if bias_EO is None:
            torch.mm(x_NI[rows], weight_EOI[group].T, out=out_NO[rows])
        else:
            torch.addmm(bias_EO[group], x_NI[rows], weight_EOI[group].T, out=out_NO[rows])
        start += count
    out_NO[start:].zero_()
    return out_NO


@torch.library.custom_op("lightning_tx::grouped_outer", mutates_args=())
def _grouped_outer(left_NO: Tensor, right_NI: Tensor, counts_E: Tensor) -> Tensor:
    out_EOI = left_NO.new_empty(counts_E.shape[0], left_NO.shape[1], right_NI.shape[1])
    start = 0
    for group, count in enumerate(counts_E.tolist()):
        rows = slice(start, start + count)
        torch.mm(left_NO[rows].T, right_NI[rows], out=out_EOI[group])
        start += count
    return out_EOI


@_grouped_product.register_fake
def _(x_NI: Tensor, weight_EOI: Tensor, bias_EO: Tensor | None, counts_E: Tensor) -> Tensor:
    return x_NI.new_empty(x_NI.shape[0], weight_EOI.shape[1])


@_grouped_outer.register_fake
def _(left_NO: Tensor, right_NI: Tensor, counts_E: Tensor) -> Tensor:
    return left_NO.new_empty(counts_E.shape[0], left_NO.shape[1], right_NI.shape[1])


def _keep_product(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x_NI, weight_EOI, _, counts_E = inputs
    # What no gradient asks for is not kept: the rows of a frozen expert, the weight before a frozen embedding.
    wants_x, wants_weight, *_ = ctx.needs_input_grad
    ctx.save_for_backward(x_NI if wants_weight else None, weight_EOI if wants_x else None, counts_E)


def _grad_product(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, ...]:
    x_NI, weight_EOI, counts_E = ctx.saved_tensors
    grad_x = None if weight_EOI is None else _grouped_product(grad_NO, weight_EOI.mT, None, counts_E)
    grad_weight = None if x_NI is None else _grouped_outer(grad_NO, x_NI, counts_E)
    grad_bias = None
    if ctx.needs_input_grad[2]:
        grad_bias = _grouped_outer(grad_NO, grad_NO.new_ones(grad_NO.shape[0], 1), counts_E)[..., 0]
    return grad_x, grad_weight, grad_bias, None


def _keep_outer(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _grad_outer(ctx: Any, grad_EOI: Tensor) -> tuple[Tensor | None, ...]:
    left_NO, right_NI, counts_E = ctx.saved_tensors
    return (
        _grouped_product(right_NI, grad_EOI, None, counts_E),
        _grouped_product(left_NO, grad_EOI.mT, None, counts_E),
        None,
    )


_grouped_product.register_autograd(_grad_product, setup_context=_keep_product)
_grouped_outer.register_autograd(_grad_outer, setup_context=_keep_outer)


@register_flop_formula(torch.ops.lightning_tx.grouped_product)
def _flops_of_product(x_shape: Any, weight_shape: Any, *_: Any, **__: Any) -> int:
    """Of all rows: each meets one group."""
    return 2 * x_shape[0] * weight_shape[1] * weight_shape[2]


@register_flop_formula(torch.ops.lightning_tx.grouped_outer)
def _flops_of_outer(left_shape: Any, right_shape: Any, *_: Any, **__: Any) -> int:
    return 2 * left_shape[0] * left_shape[1] * right_shape[1]
