"""Schedules: a learning rate for every step, by nothing but the step."""

import copy
import math
import pickle
from itertools import pairwise, product
from typing import Any

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import options_of
from lightning_tx.schedule.base import SCHEDULE, Schedule
from lightning_tx.testing.component import Component
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.variations import each_changed

LR, D_MODEL = 1e-3, 128


@holds(about="component", groups=("schedule",), usually="a division by warmup_steps or by the steps that remain.")
def learning_rates_are_finite(subject: Component) -> None:
    """Whatever its options, every step has a finite learning rate, above zero somewhere, never below."""
    for config, max_steps in product(each_changed("schedule", subject.config), (1, 7, 1000)):
        schedule = _schedule(config, max_steps)
        rates = [schedule(step) for step in range(1, max_steps + 3)]
        wrong = [step for step, rate in enumerate(rates, 1) if not (math.isfinite(rate) and rate >= 0)]
        if wrong:
            raise Violation(
                f"with {config}, of {max_steps} steps, step {wrong[0]} has the learning rate {rates[wrong[0] - 1]}."
            )
        if not any(rates):
            raise Violation(f"with {config} all {max_steps} steps have the learning rate 0.")


@holds(
    about="component",
    groups=("schedule",),
    usually="a count of its own calls, which a resumed run starts again: use the step.",
    kin="state of a schedule",
)
def rate_is_a_function_of_the_step(subject: Component) -> None:
    """A step has the same learning rate whenever it is asked for, in any order, and by another instance."""
    schedule, other = _schedule(subject.config, 1000), _schedule(subject.config, 1000)
    first = {step: schedule(step) for step in (1, 50, 500, 999)}
    for step in (999, 50, 1, 50, 500):
        for each in (schedule, other):
            if (again := each(step)) != first[step]:
                raise Violation(f"step {step} has the learning rate {first[step]:.6g}, and {again:.6g} asked again.")


@holds(
    about="component",
    groups=("schedule",),
    usually="something counted or remembered on the object, which no checkpoint holds.",
    kin="state of a schedule",
)
def schedule_has_no_state(subject: Component) -> None:
    """Being asked leaves a schedule as it was, and it can be sent to another process."""
    schedule = _schedule(subject.config, 1000)
    before = copy.deepcopy(vars(schedule))
    for step in (1, 2, 500):
        schedule(step)
    changed = [name for name, value in vars(schedule).items() if name not in before or before[name] != value]
    if changed:
        name = changed[0]
        raise Violation(f"after three calls {name} is {getattr(schedule, name)!r}, and was {before.get(name)!r}.")
    sent = pickle.loads(pickle.dumps(schedule))
    if sent(500) != schedule(500):
        raise Violation(f"pickled and loaded, step 500 has the learning rate {sent(500):.6g}, not {schedule(500):.6g}.")


@holds(
    about="component",
    groups=("schedule",),
    usually="a rate that is not multiplied by lr, or that grows without it.",
)
def rate_is_never_above_the_highest(subject: Component) -> None:
    """Where a schedule shapes optimizer.lr, no step has a learning rate above it, and twice that gives twice each."""
    for config in each_changed("schedule", subject.config):
        one, two = (_shaping(config, lr) for lr in (LR, 2 * LR))
        for step in range(1, 1001, 37):
            low, high = one(step), two(step)
            if low > LR * (1 + 1e-9) or not math.isclose(high, 2 * low, rel_tol=1e-9):
                raise Violation(
                    f"with {config} step {step} has {low:.3g} where optimizer.lr is {LR:g}, {high:.3g} where "
                    f"{2 * LR:g}."
                )


@holds(
    about="component",
    groups=("schedule",),
    usually="a warm-up that is one step off, or that ends below where the decay starts.",
)
def warm_up_ends_at_the_highest(subject: Component) -> None:
    """With ``warmup_steps`` the rate rises from step to step, and is the highest of all at that step: optimizer.lr."""
    if "warmup_steps" not in {option.name for option in options_of(subject.component)}:
        raise NotApplicable("it has no option warmup_steps")
    for warmup in (1, 8, 50):
        schedule = _schedule({**subject.config, "warmup_steps": warmup}, 200)
        rates = [schedule(step) for step in range(1, 201)]
        falls = [step for step, (one, two) in enumerate(pairwise(rates[:warmup]), 2) if not two > one]
        if falls:
            raise Violation(f"of {warmup} steps of warm-up, step {falls[0]} does not rise above the one before.")
        peak, highest = rates[warmup - 1], max(rates)
        if not math.isclose(peak, highest, rel_tol=1e-9):
            raise Violation(
                f"after {warmup} steps of warm-up the rate is {peak:.4g}; the highest is {highest:.4g}, at step "
                f"{rates.index(highest) + 1}."
            )
        if _shapes(subject.config) and not math.isclose(peak, LR, rel_tol=1e-9):
            raise Violation(f"after {warmup} steps of warm-up the rate is {peak:.4g}; optimizer.lr is {LR:g}.")


def _shapes(config: Any) -> bool:
    """Whether a schedule shapes optimizer.lr; one that sets the learning rate itself refuses to be given one."""
    try:
        SCHEDULE.create(config, LR, 1000, D_MODEL)
    except ConfigError:
        return False
    return True


def _schedule(config: Any, max_steps: int) -> Schedule:
    return SCHEDULE.create(config, LR if _shapes(config) else None, max_steps, D_MODEL)


def _shaping(config: Any, lr: float) -> Schedule:
    if not _shapes(config):
        raise NotApplicable("it sets the learning rate by itself")
    return SCHEDULE.create(config, lr, 1000, D_MODEL)
