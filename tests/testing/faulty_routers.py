"""Feed-forwards with losses, stats or a capacity, and one fault each."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.core.context import Context, Mean, Output
from lightning_tx.core.dims import Dims, Site
from tests.testing.faulty_layers import Honest
from tests.testing.planted import Fault


class Balanced(Honest):
    """A router with a loss and a stat that are right."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.router = nn.Linear(dims.d_model, 2, bias=False)

    def name(self) -> str:
        return f"{self.key}/balance"

    def real(self, x_BTD: Tensor, ctx: Context) -> Tensor:
        return torch.ones_like(x_BTD[..., 0]) if ctx.token_mask_BT is None else ctx.token_mask_BT.to(x_BTD.dtype)

    def loss(self, p_BTE: Tensor, real_BT: Tensor) -> Tensor:
        return ((p_BTE * real_BT[..., None]).sum(dim=(0, 1)) / real_BT.sum()).square().sum()

    def stat(self, p_BTE: Tensor, real_BT: Tensor) -> Mean:
        return Mean((p_BTE.detach()[..., 0] * real_BT).sum(), real_BT.sum())

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        p_BTE, real_BT = self.router(x_BTD).softmax(dim=-1), self.real(x_BTD, ctx)
        stats = {f"{self.name()}_load": self.stat(p_BTE, real_BT)}
        return Output(self.inner(x_BTD) * p_BTE[..., :1], {self.name(): (self.loss(p_BTE, real_BT), 0.1)}, stats)


class LossOverPadding(Balanced):
    def loss(self, p_BTE, real_BT):
        return p_BTE.mean(dim=(0, 1)).square().sum()


class StatOverPadding(Balanced):
    def stat(self, p_BTE, real_BT):
        return Mean(p_BTE.detach()[..., 0].sum(), torch.tensor(p_BTE[..., 0].numel()))


class LossWithoutGradient(Balanced):
    def loss(self, p_BTE, real_BT):
        return F.one_hot(p_BTE.argmax(dim=-1), 2).to(p_BTE).mean(dim=(0, 1)).square().sum()


class StatWithGradient(Balanced):
    def stat(self, p_BTE, real_BT):
        return Mean((p_BTE[..., 0] * real_BT).sum(), real_BT.sum())


class LossOfOneName(Balanced):
    def name(self) -> str:
        return "balance"


class EvictsEarlierTokens(Balanced):
    """In training only the half of a row's tokens that score highest pass: a later one takes an earlier one's place."""

    def forward(self, x_BTD, ctx):
        output = super().forward(x_BTD, ctx)
        if not self.training:
            return output
        score_BT = self.router(x_BTD)[..., 0]
        least_B = score_BT.topk((score_BT.shape[1] + 1) // 2, dim=1).values[:, -1:]
        return Output(output.x * (score_BT >= least_B)[..., None], output.losses, output.stats)


FAULTS = [
    Fault("losses_and_stats_ignore_padding", "feed_forward", LossOverPadding, says="the loss"),
    Fault("losses_and_stats_ignore_padding", "feed_forward", StatOverPadding, says="the stat"),
    Fault("auxiliary_losses_teach", "feed_forward", LossWithoutGradient, says="no gradient"),
    Fault("auxiliary_losses_teach", "feed_forward", StatWithGradient, says="the stat"),
    Fault("losses_are_named_apart", "feed_forward", LossOfOneName, says="balance"),
    Fault("causality_in_training", "feed_forward", EvictsEarlierTokens),
]
HONEST = [("feed_forward", Balanced)]
