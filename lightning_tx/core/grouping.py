"""Tokens that each go to several groups: their rows sorted by group, and what the groups made of them put together."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_tx.core.autocast import autocast_dtype


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
        rows: Any = _Spread.apply(x_ND, self.order_R, self.places_R, self.num_choices)
        return rows

    def combine(self, rows_RD: Tensor, weights_Nk: Tensor) -> Tensor:
        """For each token [N, D] the sum of its rows, each times the weight of its choice."""
        combined: Any = _Combine.apply(rows_RD, weights_Nk, self.order_R, self.places_R)
        return combined


# A gather's own gradient adds into rows one after the other. Here every row has one place, so that the gradient of a
# gather is a gather.


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order_R: Tensor, places_R: Tensor, num_choices: int) -> Tensor:
        ctx.save_for_backward(places_R)
        ctx.num_choices = num_choices
        return x_ND.index_select(0, order_R // num_choices)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (places_R,) = ctx.saved_tensors
        first_ND, *others = grads[0].index_select(0, places_R).unflatten(0, (-1, ctx.num_choices)).unbind(dim=1)
        # A sum over so short a dimension takes several times as long as these.
        return sum(others, start=first_ND), None, None, None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_RD: Tensor, weights_Nk: Tensor, order_R: Tensor, places_R: Tensor) -> Tensor:
        ctx.save_for_backward(rows_RD, weights_Nk, order_R, places_R)
        rows_NkD = rows_RD.index_select(0, places_R).unflatten(0, weights_Nk.shape)
        weights_Nk1 = weights_Nk.to(rows_RD.dtype)[..., None]
        out_ND = rows_NkD[:, 0] * weights_Nk1[:, 0]
        for choice in range(1, weights_Nk.shape[1]):
            out_ND = out_ND.addcmul(rows_NkD[:, choice], weights_Nk1[:, choice])
        return out_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        rows_RD, weights_Nk, order_R, places_R = ctx.saved_tensors
        (grad_ND,) = grads
        spread_RD = grad_ND.index_select(0, order_R // weights_Nk.shape[1])
        weights_R = weights_Nk.to(rows_RD.dtype).flatten().index_select(0, order_R)
        grad_weights_R = (spread_RD * rows_RD).sum(dim=1, dtype=weights_Nk.dtype).index_select(0, places_R)
        return spread_RD * weights_R[:, None], grad_weights_R.view_as(weights_Nk), None, None
