"""Feed-forwards with one fault each."""

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.components.feed_forward.base import FeedForward
from lightning_tx.core.context import Context, Output
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.schemes import Constant
from tests.testing.planted import Fault


class Honest(FeedForward):
    """``W2 relu(W1 x)``; the others are this and a fault."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.key = site.key
        self.up_proj = nn.Linear(dims.d_model, dims.d_ff, bias=False)
        self.down_proj = nn.Linear(dims.d_ff, dims.d_model, bias=False)

    def inner(self, x: Tensor) -> Tensor:
        return self.down_proj(self.up_proj(x).relu())

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        return Output(self.inner(x_BTD))


class LooksOneAhead(Honest):
    def forward(self, x_BTD, ctx):
        return Output(self.inner(x_BTD + F.pad(x_BTD[:, 1:], (0, 0, 0, 1))))


class SubtractsTheRowsMean(Honest):
    def forward(self, x_BTD, ctx):
        return Output(self.inner(x_BTD - x_BTD.mean(dim=1, keepdim=True)))


class SharesABatch(Honest):
    def forward(self, x_BTD, ctx):
        return Output(self.inner(x_BTD - x_BTD.mean(dim=0, keepdim=True)))


class DropsInEvaluation(Honest):
    def forward(self, x_BTD, ctx):
        return Output(F.dropout(self.inner(x_BTD), 0.1))


class HasDeafDropout(Honest):
    def __init__(self, dims: Dims, site: Site, *, dropout: float = 0.0) -> None:
        super().__init__(dims, site)
        self.dropout = dropout


class Remembers(Honest):
    last: Tensor | None = None

    def forward(self, x_BTD, ctx):
        before = 0 if self.last is None else self.last
        self.last = x_BTD.detach().max()
        return Output(self.inner(x_BTD) * (1 + before))


class ChangesItsInput(Honest):
    def forward(self, x_BTD, ctx):
        return Output(self.inner(x_BTD.mul_(0.5)))


class HasAnIdleParameter(Honest):
    initial = {"gain": Constant(1.0)}

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.gain = nn.Parameter(torch.ones(dims.d_model))


class HasARootOfZero(Honest):
    def forward(self, x_BTD, ctx):
        hidden = self.inner(x_BTD)
        return Output(hidden + (hidden - hidden).abs().sqrt())


class DividesByTheTokensSoFar(Honest):
    """The mean of the real tokens so far, which there are none of at padding on the left."""

    def forward(self, x_BTD, ctx):
        real = torch.ones_like(x_BTD[..., :1]) if ctx.token_mask_BT is None else ctx.token_mask_BT[..., None].to(x_BTD)
        count = real.cumsum(dim=1)
        mean = (x_BTD * real).cumsum(dim=1) / count
        return Output(self.inner(torch.where(count > 0, mean, torch.zeros_like(mean))))


class AnswersInFloat32(Honest):
    def forward(self, x_BTD, ctx):
        return Output(self.inner(x_BTD).float())


class AnswersInFloat32Inside(Honest):
    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.rounding = Rounding()

    def forward(self, x_BTD, ctx):
        return Output(self.rounding(self.inner(x_BTD)).to(x_BTD.dtype))


class Rounding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class AnswersWithMoreTokens(Honest):
    def forward(self, x_BTD, ctx):
        return Output(self.inner(x_BTD).repeat(1, 2, 1)[:, : x_BTD.shape[1] + 1])


class KnowsTheCpuAlone(Honest):
    def forward(self, x_BTD, ctx):
        return Output(self.inner(x_BTD) + torch.linspace(0, 1, x_BTD.shape[-1], dtype=x_BTD.dtype, device="cpu"))


class BranchesOnAValue(Honest):
    def forward(self, x_BTD, ctx):
        hidden = self.inner(x_BTD)
        return Output(-hidden if bool(hidden.sum() > 1e9) else hidden)


class DeclaresNoInitialisation(Honest):
    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.gain = nn.Parameter(torch.ones(dims.d_model))

    def inner(self, x: Tensor) -> Tensor:
        return super().inner(x) * self.gain


class StartsWithNothingFinite(Honest):
    initial = {"gain": Constant(float("inf"))}

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.gain = nn.Parameter(torch.ones(dims.d_model))

    def inner(self, x: Tensor) -> Tensor:
        return super().inner(x) * self.gain


class ShiftsAtRandom(Honest):
    """A buffer of random numbers that is not saved."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.register_buffer("shift", torch.randn(dims.d_model), persistent=False)

    def inner(self, x: Tensor) -> Tensor:
        return super().inner(x + self.shift)


class DrawsFromPython(ShiftsAtRandom):
    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.shift.fill_(random.random())


class DrawsFromNumpy(ShiftsAtRandom):
    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.shift.fill_(float(np.random.rand()))


class CountsInAnAttribute(Honest):
    """Learns in training what no checkpoint holds."""

    mean = 0.0

    def forward(self, x_BTD, ctx):
        if self.training:
            self.mean = x_BTD.detach().mean()
        return Output(self.inner(x_BTD - self.mean))


class BuildsWithValues(Honest):
    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.register_buffer("table", torch.from_numpy(np.linspace(0, 1, dims.d_model)))

    def inner(self, x: Tensor) -> Tensor:
        return super().inner(x + self.table)


class HoldsOnToItself(Honest):
    """Its copy goes on calling the first one's layer."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        linear = self.down_proj
        self.last = lambda x: F.linear(x, linear.weight)

    def inner(self, x: Tensor) -> Tensor:
        return self.last(self.up_proj(x).relu())


class MixesDtypes(Honest):
    def forward(self, x_BTD, ctx):
        out = torch.zeros(x_BTD.shape, dtype=next(self.parameters()).dtype, device=x_BTD.device)
        out[:, torch.arange(x_BTD.shape[1], device=x_BTD.device)] = self.inner(x_BTD)
        return Output(out)


class CountsInBfloat16(Honest):
    """A sum in low precision, which stops growing."""

    def forward(self, x_BTD, ctx):
        total = x_BTD[..., :1] * 0 + 1
        for _ in range(600):
            total = total + 1
        return Output(self.inner(x_BTD) * (total / 300))


class LosesGradient(Honest):
    """One expert of two a token, whose weight is scaled to 1: the router learns nothing."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.router = nn.Linear(dims.d_model, 2, bias=False)

    def forward(self, x_BTD, ctx):
        best = self.router(x_BTD).softmax(dim=-1).max(dim=-1, keepdim=True)
        sign = best.indices * 2 - 1
        return Output(self.inner(x_BTD) * sign * (best.values / best.values))


FAULTS = [
    Fault("causality", "feed_forward", LooksOneAhead, says="token 0"),
    Fault("causality", "feed_forward", SubtractsTheRowsMean),
    Fault("sees_what_the_pattern_allows", "feed_forward", LooksOneAhead, says="may not depend on token 1, and does"),
    Fault("rows_are_independent", "feed_forward", SharesABatch, says="in evaluation"),
    Fault("padding_on_the_right", "feed_forward", SubtractsTheRowsMean, topology="encoder", says="id 7"),
    Fault("no_randomness_in_evaluation", "feed_forward", DropsInEvaluation),
    Fault("dropout_in_training", "feed_forward", HasDeafDropout),
    Fault("no_state_between_calls", "feed_forward", Remembers),
    Fault("inputs_unchanged", "feed_forward", ChangesItsInput, says="ChangesItsInput"),
    Fault("gradients", "feed_forward", HasAnIdleParameter, says="feed_forward.gain gets no gradient"),
    Fault("gradients", "feed_forward", HasARootOfZero, says="not finite"),
    Fault("gradients", "feed_forward", LosesGradient, says="router.weight is zero"),
    Fault("gradients_with_padding", "feed_forward", DividesByTheTokensSoFar, says="not finite"),
    Fault("shape_dtype_device", "feed_forward", AnswersWithMoreTokens),
    Fault("every_layer_keeps_the_dtype", "feed_forward", AnswersInFloat32, says="AnswersInFloat32"),
    Fault("every_layer_keeps_the_dtype", "feed_forward", AnswersInFloat32Inside, says="Rounding"),
    Fault("makes_tensors_on_the_device_of_its_inputs", "feed_forward", KnowsTheCpuAlone),
    Fault("compiles_in_one_graph", "feed_forward", BranchesOnAValue),
    Fault("initialisation", "feed_forward", DeclaresNoInitialisation, says="does not say how to initialise"),
    Fault("initialisation", "feed_forward", StartsWithNothingFinite, says="not finite"),
    Fault("initialisation", "feed_forward", ShiftsAtRandom, says="shift differs"),
    Fault("initialisation", "feed_forward", DrawsFromPython, says="shift differs"),
    Fault("leaves_generators_alone", "feed_forward", DrawsFromPython, says="Python"),
    Fault("leaves_generators_alone", "feed_forward", DrawsFromNumpy, says="NumPy"),
    Fault("state_dict_is_the_model", "feed_forward", ShiftsAtRandom),
    Fault("state_dict_is_the_model", "feed_forward", CountsInAnAttribute),
    Fault("builds_without_memory", "feed_forward", BuildsWithValues, says="table"),
    Fault("copies_are_independent", "feed_forward", HoldsOnToItself),
    Fault("autocast", "feed_forward", MixesDtypes),
    Fault("bfloat16", "feed_forward", CountsInBfloat16),
]
HONEST = [("feed_forward", Honest)]
