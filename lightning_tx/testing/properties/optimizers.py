"""Optimizers: they descend, by the rate that the schedule sets, and go on from their state."""

import copy
import io
from typing import Any

import torch
from torch import Tensor, nn

from lightning_tx.core.schema import options_of
from lightning_tx.optimizer.base import OPTIMIZER
from lightning_tx.testing.component import Component
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.values import seeded

#: A learning rate at which every optimizer of a sound scale descends.
RATE = 1e-2


@holds(
    about="component", groups=("optimizer",), usually="parameters left out of the groups, as those of one dimension."
)
def every_parameter_is_trained_once(subject: Component) -> None:
    """A step moves every parameter that has a gradient; one that is shared stands in the groups once."""
    model, optimizer = _made(subject)
    numbers = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    if len(numbers) != len(set(numbers)):
        raise Violation("a parameter stands in the groups more than once.")
    start = copy.deepcopy(model.state_dict())
    _step(model, optimizer)
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    still = [name for name in sorted(trained) if torch.equal(model.state_dict()[name], start[name])]
    if still:
        raise Violation(f"a step did not move {', '.join(still)}.")


@holds(
    about="component",
    groups=("optimizer",),
    usually="a decay of all parameters, or parameters taken without a look at requires_grad.",
)
def parameters_without_gradient_stay(subject: Component) -> None:
    """What is frozen, and what took no part in a step, is left as it is: not decayed, and not moved by momentum."""
    model, optimizer = _made(subject)
    frozen = model.frozen.detach().clone()
    idle = model.idle.detach().clone()
    for _ in range(3):
        _step(model, optimizer)
    for name, before in (("frozen", frozen), ("idle", idle)):
        moved = (getattr(model, name) - before).abs().max().item()
        if moved > 0:
            what = "requires no gradient" if name == "frozen" else "has no gradient (grad is None)"
            raise Violation(f"in three steps, a parameter that {what} is moved by {moved:.3g}.")


@holds(about="component", groups=("optimizer",), usually="maximize=True, or a step that adds the gradient.")
def optimizer_descends(subject: Component) -> None:
    """On a convex problem, a hundred small steps make the loss smaller, and the last of them do not diverge."""
    model, optimizer = _made(subject)
    losses = [_step(model, optimizer) for _ in range(100)]
    if not losses[-1] < losses[0] or not losses[-1] <= losses[50] * (1 + 1e-3):
        raise Violation(
            f"with a learning rate of {RATE:g} the loss is {losses[0]:.4g} at first, {losses[50]:.4g} after 50 steps "
            f"and {losses[-1]:.4g} after 100."
        )


@holds(
    about="component",
    groups=("optimizer",),
    usually="a learning rate of its own instead of the group's lr, which the schedule sets, or that of its first step.",
)
def optimizer_obeys_the_rate(subject: Component) -> None:
    """With a learning rate of 0 nothing moves; twice the rate moves further, at the first step and at a later one."""
    for steps_before in (0, 3):
        moved = {rate: _moved(subject, steps_before, rate) for rate in (0.0, RATE, 2 * RATE)}
        # What an optimizer keeps of earlier steps may hold their rate, as classical momentum does.
        moves_at_zero = moved[0.0] > 0 and steps_before == 0
        if moves_at_zero or not moved[2 * RATE] > 1.02 * moved[RATE]:
            seen = ", ".join(f"{distance:.3g} at {rate:g}" for rate, distance in moved.items())
            raise Violation(f"step {steps_before + 1} moves a parameter by {seen}.")


@holds(
    about="component",
    groups=("optimizer",),
    usually="its option lr handed on to torch's optimizer: the schedule, which starts from it, multiplies by it again.",
)
def the_schedule_alone_sets_the_rate(subject: Component) -> None:
    """The groups' learning rates do not depend on the option lr, which the schedule multiplies them by."""
    if "lr" not in {option.name for option in options_of(subject.component)}:
        raise NotApplicable("it has no option lr")
    rates = []
    for rate in (1e-3, 2e-3):
        with seeded(0):
            optimizer = OPTIMIZER.create({**subject.config, "lr": rate}, _Convex())
        rates.append([group["lr"] for group in optimizer.param_groups])
    if rates[0] != rates[1]:
        raise Violation(
            f"with optimizer.lr 0.001 the groups start at {rates[0]}, with 0.002 at {rates[1]}; expected 1.0, or a "
            "group's own factor."
        )


@holds(
    about="component",
    groups=("optimizer",),
    usually="a count or an average on the object itself, which state_dict does not hold.",
)
def optimizer_resumes_from_its_state(subject: Component) -> None:
    """From its saved state it goes on, for as long as one looks, bit by bit as if it had not been interrupted."""
    # Not in float64, to which PyTorch turns what an optimizer keeps in float32 when it loads it.
    model, optimizer = _made(subject, torch.float32)
    for _ in range(3):
        _step(model, optimizer)
    saved = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], saved)
    saved.seek(0)
    twin, resumed = _made(subject, torch.float32)
    weights, state = torch.load(saved, weights_only=True)
    twin.load_state_dict(weights)
    resumed.load_state_dict(state)
    for number in range(1, 4):
        for each, own in ((model, optimizer), (twin, resumed)):
            _step(each, own)
        pairs = zip(model.named_parameters(), twin.parameters(), strict=True)
        differing = [name for (name, value), other in pairs if not torch.equal(value, other)]
        if differing:
            raise Violation(f"after loading its state, step {number} moves {', '.join(differing)} to other values.")


class _Convex(nn.Module):
    """A linear regression, with parameters of two, one and no dimensions, a shared, a frozen and an idle one."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Linear(4, 3)
        self.same = self.matrix
        self.gain = nn.Parameter(torch.zeros(()))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.idle = nn.Parameter(torch.ones(3, 3))

    def loss(self) -> Tensor:
        """Mean squared error [] on a few points."""
        x = torch.linspace(-1, 1, 32, dtype=self.gain.dtype).view(8, 4).sin()
        wanted = x.cumsum(dim=1)[:, :3] * 3 + self.frozen
        return (self.same(x) + self.gain - wanted).square().mean()


def _made(subject: Component, dtype: torch.dtype = torch.float64) -> tuple[_Convex, Any]:
    with seeded(0):
        model = _Convex().to(dtype)
        return model, OPTIMIZER.create(subject.config, model)


def _step(model: _Convex, optimizer: Any, rate: float = RATE) -> float:
    """A step at a learning rate, set as a run sets it; returns the loss before."""
    optimizer.zero_grad()
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * rate
    loss = model.loss()
    loss.backward()
    optimizer.step()
    return loss.item()


def _moved(subject: Component, steps_before: int, rate: float) -> float:
    """How far the parameters move in one step at a rate, after some at the usual one."""
    model, optimizer = _made(subject)
    for _ in range(steps_before):
        _step(model, optimizer)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    _step(model, optimizer, rate)
    pairs = zip(model.parameters(), start, strict=True)
    return max((parameter - before).abs().max().item() for parameter, before in pairs)
