"""Feed-forwards that are no function of their inputs and weights, or have the gradient of another one."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.core.context import Mean, Output
from lightning_tx.core.dims import Dims, Site
from tests.testing.faulty_layers import Honest
from tests.testing.planted import Fault


class IsAlwaysNoisy(Honest):
    def __init__(self, dims: Dims, site: Site, *, jitter: float = 0.1) -> None:
        super().__init__(dims, site)
        self.jitter = jitter

    def forward(self, x_BTD, ctx):
        noise = torch.randn_like(x_BTD) * self.jitter if self.training else 0
        return Output(self.inner(x_BTD + noise))


class SaysItIsNoisy(IsAlwaysNoisy):
    """The same, and no fault: what is random can be turned off."""

    noise_options = ("jitter",)


class ShakesWithPython(Honest):
    def forward(self, x_BTD, ctx):
        return Output(self.inner(x_BTD) * (1 + random.random() * self.training))


class RemembersInABuffer(Honest):
    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.register_buffer("centre", torch.zeros(dims.d_model))

    def forward(self, x_BTD, ctx):
        if self.training:
            self.centre.lerp_(x_BTD.detach().mean(dim=(0, 1)).to(self.centre), 0.1)
        return Output(self.inner(x_BTD - self.centre))


class IsMadeLate(Honest):
    def inner(self, x: Tensor) -> Tensor:
        if not hasattr(self, "late"):
            self.late = nn.Linear(x.shape[-1], x.shape[-1]).to(x)
        return super().inner(self.late(x))


class FoldsItsWeights(Honest):
    folded: Tensor | None = None

    def inner(self, x: Tensor) -> Tensor:
        if self.training:
            return F.linear(x, self.down_proj.weight @ self.up_proj.weight)
        if self.folded is None:
            self.folded = (self.down_proj.weight @ self.up_proj.weight).detach()
        return F.linear(x, self.folded)


class ScalesInTraining(Honest):
    def forward(self, x_BTD, ctx):
        return Output(self.inner(x_BTD) * (1.1 if self.training else 1.0))


class SetsTheDefaultDtype(Honest):
    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        torch.set_default_dtype(torch.float64)


class Prints(Honest):
    def forward(self, x_BTD, ctx):
        print("shape", tuple(x_BTD.shape))
        return super().forward(x_BTD, ctx)


class ReadsThroughDetached(Honest):
    def inner(self, x: Tensor) -> Tensor:
        return self.down_proj(self.up_proj(x).relu() * self.up_proj(x.detach()).sigmoid())


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 2 * x**2


class DerivesWrongly(Honest):
    def inner(self, x: Tensor) -> Tensor:
        return self.down_proj(Cube.apply(self.up_proj(x)))


class HidesAParameter(Honest):
    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.gains = [nn.Parameter(torch.ones(dims.d_model))]

    def inner(self, x: Tensor) -> Tensor:
        return super().inner(x * self.gains[0].to(x))


class WritesThroughData(Honest):
    def forward(self, x_BTD, ctx):
        x_BTD.data.mul_(0.5)
        return Output(self.inner(x_BTD))


class SumsItsLoss(Honest):
    def forward(self, x_BTD, ctx):
        hidden = self.inner(x_BTD)
        return Output(hidden, {f"{self.key}/size": (hidden.square().mean(dim=(1, 2)).sum(), 0.01)})


class CountsBatches(Honest):
    def forward(self, x_BTD, ctx):
        hidden = self.inner(x_BTD)
        size = hidden.detach().square()
        mean = size.mean() if ctx.token_mask_BT is None else size[ctx.token_mask_BT].mean()
        return Output(hidden, stats={f"{self.key}/size": Mean(mean, torch.ones(()))})


class HasIdleExperts(Honest):
    """One expert of four a token, and no word of the other three."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.router = nn.Linear(dims.d_model, 4, bias=False)
        self.experts = nn.ModuleList(nn.Linear(dims.d_model, dims.d_model, bias=False) for _ in range(4))

    def inner(self, x: Tensor) -> Tensor:
        p = self.router(x).softmax(dim=-1)
        chosen = F.one_hot(p.argmax(dim=-1), 4).to(p)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)
        return super().inner(x) + (outputs * (p * chosen)[..., None, :]).sum(dim=-1)


class MovesUnsaved(Honest):
    """What it learns after steps is not saved."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.register_buffer("shift", torch.zeros(()), persistent=False)

    def after_step(self, stats):
        self.shift += 0.5

    def inner(self, x: Tensor) -> Tensor:
        return super().inner(x + self.shift)


class LooksAtAllPairs(Honest):
    def forward(self, x_BTD, ctx):
        seen = ctx.mask.dense().any(dim=1)[..., :1]
        return Output(self.inner(x_BTD) + 0 * seen[:, -x_BTD.shape[1] :].to(x_BTD))


FAULTS = [
    Fault("no_randomness_in_training_without_dropout", "feed_forward", IsAlwaysNoisy, says="PyTorch"),
    Fault("no_randomness_in_training_without_dropout", "feed_forward", ShakesWithPython, says="Python"),
    Fault("forward_moves_nothing", "feed_forward", RemembersInABuffer, says="in training moved"),
    Fault("forward_moves_nothing", "feed_forward", IsMadeLate, says="late"),
    Fault("weights_are_read_anew", "feed_forward", FoldsItsWeights),
    Fault("training_is_evaluation_without_dropout", "feed_forward", ScalesInTraining),
    Fault("leaves_the_process_alone", "feed_forward", SetsTheDefaultDtype, says="default dtype"),
    Fault("leaves_the_process_alone", "feed_forward", Prints, says="shape"),
    Fault("gradients_are_derivatives", "feed_forward", ReadsThroughDetached, says="token_embedding.weight"),
    Fault("gradients_are_derivatives", "feed_forward", DerivesWrongly, topology="encoder"),
    Fault("what_learns_is_a_parameter", "feed_forward", HidesAParameter, says="(16,)"),
    Fault("inputs_unchanged", "feed_forward", WritesThroughData, says="WritesThroughData"),
    Fault("losses_are_means", "feed_forward", SumsItsLoss, says="twice"),
    Fault("losses_are_means", "feed_forward", CountsBatches, says="put together"),
    Fault("idle_parameters_are_idle", "feed_forward", HasIdleExperts, says="says 0"),
    Fault("state_dict_is_the_model", "feed_forward", MovesUnsaved),
    Fault("takes_no_dense_memory", "feed_forward", LooksAtAllPairs, says="(1, 2048, 2048)"),
]
HONEST = [("feed_forward", SaysItIsNoisy)]
