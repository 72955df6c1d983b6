"""Tokens that each go to several groups: their rows sorted by group, and what the groups made of them put together."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_tx.kernels.autocast import autocast_dtype


@dataclass(frozen=True)
class Grouping:
    """Which group each choice of each token goes to. A token with k choices has k rows; R = N · k.

    Attributes:
        order_R: the choice (token · k + its number) in each row; rows are sorted by group, and by token in a group.
        places_R: the row of each choice.
        counts_E: rows of each group; choices that go to no group take the last rows.
        num_choices: k.
    """

    order_R: Tensor
    places_R: Tensor
    counts_E: Tensor
    num_choices: int

    @staticmethod
    def of(groups_Nk: Tensor, num_groups: int) -> "Grouping":
        """Sort choices [N, k] of groups 0 to ``num_groups - 1``; ``num_groups`` itself stands for no group."""
        groups_R = groups_Nk.flatten()
        order_R = groups_R.argsort(stable=True)
        places_R = torch.empty_like(order_R)
        places_R[order_R] = torch.arange(order_R.shape[0], device=order_R.device)
        counts_E = (groups_R[:, None] == torch.arange(num_groups, device=groups_R.device)).sum(dim=0)
        if not counts_E.is_meta:
            # Every product of the groups reads these numbers: a GPU is waited for once.
            counts_E = counts_E.cpu()
        return Grouping(order_R, places_R, counts_E, groups_Nk.shape[1])

    def spread(self, x_ND: Tensor) -> Tensor:
        """The rows [R, D] of tokens [N, D]; under autocast in its dtype, in which the groups multiply them."""
        x_ND = x_ND.to(autocast_dtype(x_ND.device) or x_ND.dtype)
        return _spread(x_ND, self.order_R, self.places_R, self.num_choices)

    def combine(self, rows_RD: Tensor, weights_Nk: Tensor) -> Tensor:
        """For each token [N, D] the sum of its rows, each times the weight of its choice."""
        return _combine(rows_RD, weights_Nk, self.order_R, self.places_R)


# A gather's own gradient adds into rows one after the other. Here every row has one place, so that the gradient of a
# gather is a gather.


@torch.library.custom_op("lightning_tx::spread_rows", mutates_args=())
def _spread(x_ND: Tensor, order_R: Tensor, places_R: Tensor, num_choices: int) -> Tensor:
    return x_ND.index_select(0, order_R // num_choices)


@torch.library.custom_op("lightning_tx::combine_rows", mutates_args=())
def _combine(rows_RD: Tensor, weights_Nk: Tensor, order_R: Tensor, places_R: Tensor) -> Tensor:
    first_ND, *others = _by_choice(rows_RD, places_R, weights_Nk.shape[1])
    first_N1, *further = weights_Nk.to(rows_RD.dtype)[..., None].unbind(dim=1)
    out_ND = first_ND * first_N1
    for rows_ND, weights_N1 in zip(others, further, strict=True):
        out_ND.addcmul_(rows_ND, weights_N1)
    return out_ND


@_spread.register_fake
def _(x_ND: Tensor, order_R: Tensor, places_R: Tensor, num_choices: int) -> Tensor:
    return x_ND.new_empty(order_R.shape[0], x_ND.shape[1])


@_combine.register_fake
def _(rows_RD: Tensor, weights_Nk: Tensor, order_R: Tensor, places_R: Tensor) -> Tensor:
    return rows_RD.new_empty(weights_Nk.shape[0], rows_RD.shape[1])


def _keep_spread(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, places_R, ctx.num_choices = inputs
    ctx.save_for_backward(places_R)


def _grad_spread(ctx: Any, grad_RD: Tensor) -> tuple[Tensor | None, ...]:
    (places_R,) = ctx.saved_tensors
    # A sum over so short a dimension takes several times as long as these.
    first_ND, *others = _by_choice(grad_RD, places_R, ctx.num_choices)
    return sum(others, start=first_ND), None, None, None


def _keep_combine(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _grad_combine(ctx: Any, grad_ND: Tensor) -> tuple[Tensor | None, ...]:
    rows_RD, weights_Nk, order_R, places_R = ctx.saved_tensors
    grad_RD = grad_ND.index_select(0, order_R // weights_Nk.shape[1])
    grad_weights_R = (grad_RD * rows_RD).sum(dim=1, dtype=weights_Nk.dtype).index_select(0, places_R)
    weights_R = weights_Nk.to(rows_RD.dtype).flatten().index_select(0, order_R)
    return grad_RD * weights_R[:, None], grad_weights_R.view_as(weights_Nk), None, None


def _by_choice(rows_RD: Tensor, places_R: Tensor, num_choices: int) -> tuple[Tensor, ...]:
    """The rows of each token's first choice [N, D], of its second, …."""
    return rows_RD.index_select(0, places_R).unflatten(0, (-1, num_choices)).unbind(dim=1)


_spread.register_autograd(_grad_spread, setup_context=_keep_spread)
_combine.register_autograd(_grad_combine, setup_context=_keep_combine)
