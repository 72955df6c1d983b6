"""Schedules and optimizers."""

import copy
import math
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from lightning_tx.core.errors import ConfigError
from lightning_tx.groups import GROUPS
from lightning_tx.testing.component import Component
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.values import seeded
from lightning_tx.testing.variations import variations

#: A learning rate at which every optimizer of a sound scale descends.
RATE = 1e-2
OF_SCHEDULES = {"about": "component", "groups": ("schedule",)}
OF_OPTIMIZERS = {"about": "component", "groups": ("optimizer",)}


@holds(**OF_SCHEDULES, usually="a division by warmup_steps or by the steps that remain.")
def learning_rates_are_finite(subject: Component) -> None:
    """Whatever its options, every step has a finite learning rate, above zero somewhere, never below."""
    for config, max_steps in product(_configs(subject), (1, 7, 1000)):
        schedule = _schedule(config, max_steps)
        rates = [schedule(step) for step in range(1, max_steps + 3)]
        wrong = [step for step, rate in enumerate(rates, 1) if not (math.isfinite(rate) and rate >= 0)]
        if wrong:
            raise Violation(
                f"with {config}, of {max_steps} steps, step {wrong[0]} has the learning rate {rates[wrong[0] - 1]}."
            )
        if not any(rates):
            raise Violation(f"with {config} all {max_steps} steps have the learning rate 0.")


@holds(usually="a count of its own calls, which a resumed run starts again: use the step.", **OF_SCHEDULES)  # type: ignore[arg-type]
def rate_is_a_function_of_the_step(subject: Component) -> None:
    """A step has the same learning rate whenever it is asked for, in any order, and by another instance."""
    schedule, other = _schedule(subject.config, 1000), _schedule(subject.config, 1000)
    first = {step: schedule(step) for step in (1, 50, 500, 999)}
    for step in (999, 50, 1, 50, 500):
        for each in (schedule, other):
            if (again := each(step)) != first[step]:
                raise Violation(f"step {step} has the learning rate {first[step]:.6g}, and {again:.6g} asked again.")


@holds(usually="a rate that is not multiplied by lr, or that grows without it.", **OF_SCHEDULES)  # type: ignore[arg-type]
def rate_is_never_above_the_highest(subject: Component) -> None:
    """Where a schedule shapes optimizer.lr, no step has a learning rate above it, and twice that gives twice each."""
    try:
        one, two = (GROUPS["schedule"].create(subject.config, lr, 1000, 128) for lr in (1e-3, 2e-3))
    except ConfigError as error:
        raise NotApplicable("it sets the learning rate by itself") from error
    for step in range(1, 1001, 37):
        if one(step) > 1e-3 * (1 + 1e-9) or abs(two(step) - 2 * one(step)) > 1e-9:
            raise Violation(
                f"step {step} has {one(step):.3g} where optimizer.lr is 0.001, {two(step):.3g} where 0.002."
            )


@holds(**OF_OPTIMIZERS, usually="state that state_dict does not hold, or parameters left out.")
def optimizer_steps_and_resumes(subject: Component) -> None:
    """A step moves every parameter; from its saved state it goes on exactly."""
    model, optimizer = _small(subject)
    start = copy.deepcopy(model.state_dict())
    _step(model, optimizer)
    still = [name for name, value in model.state_dict().items() if torch.equal(value, start[name])]
    if still:
        raise Violation(f"a step did not move {', '.join(still)}.")
    twin = copy.deepcopy(model)
    resumed = GROUPS["optimizer"].create(subject.config, twin)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, own in ((model, optimizer), (twin, resumed)):
        _step(each, own)
    differing = [name for name, value in model.state_dict().items() if not torch.equal(value, twin.state_dict()[name])]
    if differing:
        raise Violation(f"after loading its state, the next step of {', '.join(differing)} is another.")


@holds(usually="maximize=True, or a step that adds the gradient.", **OF_OPTIMIZERS)  # type: ignore[arg-type]
def optimizer_descends(subject: Component) -> None:
    """A dozen small steps make a loss smaller."""
    model, optimizer = _small(subject)
    first = _loss(model).item()
    for _ in range(12):
        _step(model, optimizer)
    last = _loss(model).item()
    if not last < first:
        raise Violation(f"after 12 steps of learning rate {RATE:g} the loss went from {first:.4g} to {last:.4g}.")


@holds(usually="a learning rate of its own instead of the param_groups' lr, which the schedule sets.", **OF_OPTIMIZERS)  # type: ignore[arg-type]
def optimizer_obeys_the_rate(subject: Component) -> None:
    """With a learning rate of 0 nothing moves, and with a larger one it moves further."""
    moved = {}
    for rate in (0.0, RATE, 4 * RATE):
        model, optimizer = _small(subject)
        start = [parameter.detach().clone() for parameter in model.parameters()]
        _step(model, optimizer, rate)
        pairs = zip(model.parameters(), start, strict=True)
        moved[rate] = max((parameter - before).abs().max().item() for parameter, before in pairs)
    if moved[0.0] > 0 or not moved[4 * RATE] > moved[RATE]:
        seen = ", ".join(f"{distance:.3g} at {rate:g}" for rate, distance in moved.items())
        raise Violation(f"a step moves a parameter by {seen}.")


def _configs(subject: Component) -> list[dict[str, Any]]:
    """The config, and with another value of each option."""
    others = variations(subject.group, subject.config)
    changed = [{**subject.config, name: value} for name, values in others.items() for value in values]
    return [dict(subject.config), *changed]


def _schedule(config: Any, max_steps: int) -> Any:
    """The schedule; one that sets the learning rate itself refuses to be given one."""
    try:
        return GROUPS["schedule"].create(config, 1e-3, max_steps, 128)
    except ConfigError:
        return GROUPS["schedule"].create(config, None, max_steps, 128)


def _small(subject: Component) -> tuple[nn.Module, Any]:
    with seeded(0):
        model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)).double()
    return model, GROUPS["optimizer"].create(subject.config, model)


def _loss(model: nn.Module) -> Tensor:
    return model(torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)).square().sum()


def _step(model: nn.Module, optimizer: Any, rate: float = RATE) -> None:
    optimizer.zero_grad()
    for group in optimizer.param_groups:
        group["lr"] = rate
    _loss(model).backward()
    optimizer.step()
