"""What holds for a component of any group, and for those that stand outside of models."""

import copy
import math
from typing import Any

import torch
from torch import nn

from lightning_tx.core.description import docstrings, summary
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import checked, options_of, schema
from lightning_tx.groups import GROUPS
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import Violation
from lightning_tx.testing.subject import Component
from lightning_tx.testing.values import seeded

TEXTS = ["One sentence, and a number: 42.", "Zwei Sätze – mit “Zeichen”.", "a a b"] * 4


@holds(about="component", usually="a docstring that does not start with one sentence that ends in a full stop.")
def describes_itself(subject: Component) -> None:
    """Its docstring opens with a summary of one line, and explains each option."""
    cls = subject.component
    if not cls.__doc__:
        raise Violation("it has no docstring of its own.")
    if not summary(cls).strip().endswith("."):
        raise Violation(f"the first line of its docstring is {summary(cls)!r}.")
    text = "\n".join(docstrings(cls))  # options may be explained where they are used
    missing = [option.name for option in options_of(cls) if f"{option.name}:" not in text]
    if missing:
        raise Violation(f"its docstring does not explain {', '.join(missing)}.")


@holds(about="component", usually="a default outside of the bounds that the annotation states.")
def defaults_are_valid(subject: Component) -> None:
    """The defaults of its options pass the checks of their own annotations."""
    defaults = {option.name: option.default for option in options_of(subject.component) if not option.required}
    _, problems = checked(schema(subject.component), defaults, subject.group)
    problems = [problem for problem in problems if not problem.endswith("missing; it has no default.")]
    if problems:
        raise Violation(" ".join(problems))


@holds(about="component", groups=("schedule",), usually="a division by warmup_steps or by the steps that remain.")
def learning_rates_are_finite(subject: Component) -> None:
    """Every step from the first to past the last has a finite learning rate, above zero somewhere, never below."""
    for max_steps in (1, 7, 1000):
        schedule = _schedule(subject, max_steps)
        rates = [schedule(step) for step in range(1, max_steps + 3)]
        wrong = [step for step, rate in enumerate(rates, 1) if not (math.isfinite(rate) and rate >= 0)]
        if wrong:
            raise Violation(f"of {max_steps} steps, step {wrong[0]} has the learning rate {rates[wrong[0] - 1]}.")
        if not any(rates):
            raise Violation(f"all {max_steps} steps have the learning rate 0.")


@holds(about="component", groups=("tokenizer",), usually="a decoder that does not undo the pre-tokenizer.")
def texts_come_back(subject: Component) -> None:
    """Texts that it was trained on come back from their ids, which lie inside the vocabulary."""
    tokenizer = GROUPS["tokenizer"].create(subject.config).train(TEXTS)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        if tokenizer.decode(ids) != text:
            raise Violation(f"{text!r} comes back as {tokenizer.decode(ids)!r}.")
        if not all(0 <= each < tokenizer.vocab_size for each in ids):
            raise Violation(f"{text!r} has ids outside of 0 to {tokenizer.vocab_size - 1}.")
    special = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id}
    if len(special) < 4:
        raise Violation("two special tokens share an id.")


@holds(about="component", groups=("optimizer",), usually="state that state_dict does not hold, or parameters left out.")
def optimizer_steps_and_resumes(subject: Component) -> None:
    """A step moves every parameter; from its saved state it goes on exactly."""
    with seeded(0):
        model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)).double()
    optimizer = GROUPS["optimizer"].create(subject.config, model)
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


@holds(about="component", groups=("task",), usually="primary not set, or not among its measures.")
def task_says_what_is_better(subject: Component) -> None:
    """A task says of its measures whether less or more is better, which is primary, and what its data must be."""
    task: Any = GROUPS["task"].create(subject.config)
    directions = {name: measure.direction for name, measure in task.measures.items()}
    if (
        task.primary not in directions
        or not set(directions.values()) <= {"min", "max"}
        or task.texts_per_example not in (1, 2)
    ):
        raise Violation(f"primary {task.primary!r}, measures {directions!r}, texts {task.texts_per_example!r}.")


def _schedule(subject: Component, max_steps: int) -> Any:
    """The schedule; one that sets the learning rate itself refuses to be given one."""
    try:
        return GROUPS["schedule"].create(subject.config, 1e-3, max_steps, 128)
    except ConfigError:
        return GROUPS["schedule"].create(subject.config, None, max_steps, 128)


def _step(model: nn.Module, optimizer: Any) -> None:
    optimizer.zero_grad()
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)
    model(x).square().sum().backward()
    optimizer.step()
