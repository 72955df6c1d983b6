"""Which properties are checked on what."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from lightning_tx.core.schema import options_of
from lightning_tx.groups import GROUPS
from lightning_tx.testing.baseline import BASELINE, PARTS, TOPOLOGIES, Config
from lightning_tx.testing.combinations import Combinations, refusal
from lightning_tx.testing.component import Component
from lightning_tx.testing.draws import NUMBER, drawn_subjects
from lightning_tx.testing.properties import PROPERTIES
from lightning_tx.testing.property import Property
from lightning_tx.testing.results import Failure, Result
from lightning_tx.testing.subject import Subject

#: What is asked of every combination too.
COMBINED = [each for each in PROPERTIES if each.in_combinations and each.about == "model"]


def default_choices(groups: Iterable[str] = GROUPS) -> dict[str, dict[str, Config]]:
    """Every registered component of some groups with the defaults of its options, by group and name.

    Components with options that have no default are left out: only a yaml says what they are to be.
    """
    found: dict[str, dict[str, Config]] = {}
    for group in groups:
        for name in GROUPS[group].names():
            options = options_of(GROUPS[group].get(name))
            if not any(option.required for option in options):
                found.setdefault(group, {})[name] = {"name": name}
    return found


def devices() -> list[torch.device]:
    """Where to check: the CPU, and a GPU where there is one."""
    return [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]


def subjects(group: str, label: str, config: Config) -> list[Subject]:
    """The models in which a choice is checked: the baseline with it, in every topology that takes it.

    A choice that no topology takes stands in one that cannot be built, so that this shows.
    """
    if group not in (*PARTS, "model"):
        return []
    topologies = [config] if group == "model" else [{"name": name} for name in TOPOLOGIES]
    parts = {**BASELINE, **({} if group == "model" else {group: config})}
    fitting = [topology for topology in topologies if refusal(topology, parts) is None] or topologies[:1]
    return [Subject(f"{group}/{label}", topology, parts, group, device) for topology in fitting for device in devices()]


def cases(group: str, label: str, config: Config) -> Iterator[tuple[Property, Component | Subject]]:
    """What is checked of one choice."""
    alone = Component(group, label, config)
    models = subjects(group, label, config)
    for each in PROPERTIES:
        if each.concerns(group, "component"):
            yield each, alone
        if each.concerns(group, "model"):
            yield from ((each, model) for model in (models[:1] if each.once else models))


def check_choice(
    group: str,
    label: str,
    config: Config,
    *,
    quick: bool = False,
    seed: int = 0,
    drawn: int = NUMBER,
    tell: Callable[[Any], None] = lambda _: None,
) -> list[Result]:
    """Check every property of one choice: alone and on the baseline, then in models that are drawn.

    Args:
        group: a registry group.
        label: what it is called in messages.
        config: ``name`` and options.
        quick: leave out what takes long: compilation, measurements and the models that are drawn.
        seed: of what is drawn.
        drawn: how many models are drawn.
        tell: is told the name of each property before it is checked, and its result after.
    """
    results = _checked(cases(group, label, config), quick=quick, tell=tell)
    if group not in (*PARTS, "model"):
        return results
    reason = "left out by --quick" if quick else "what failed would fail there again" if failures(results) else ""
    if reason:
        left_out = Result("models that are drawn", "unasked", 0.0, reason=reason)
        tell(left_out)
        return [*results, left_out]
    tell("a model that is drawn")
    models = drawn_subjects(group, label, config, seed=seed, number=drawn)
    return results + _checked(((each, model) for model in models for each in COMBINED), tell=tell)


def combined_subjects(choices: Mapping[str, Mapping[str, Config]]) -> list[Subject]:
    """Models in which every pair of choices meets that can be built."""
    combined = Combinations(choices)
    return [
        Subject("a combination", {"name": row["model"]}, combined.parts(row), "combination") for row in combined.rows()
    ]


def check_combination(subject: Subject, tell: Callable[[Any], None] = lambda _: None) -> list[Result]:
    """Check the properties that are worth checking on every combination; ``tell`` as for :func:`check_choice`."""
    return _checked(((each, subject) for each in COMBINED), tell=tell)


def failures(results: Sequence[Result]) -> list[Failure]:
    """What was found."""
    return [result.failure for result in results if result.failure is not None]


def _checked(
    pairs: Iterator[tuple[Property, Any]], *, tell: Callable[[Any], None], quick: bool = False
) -> list[Result]:
    """Check each; once a basic property does not hold or a model cannot be built, nothing more is asked of it."""
    results: list[Result] = []
    broken: dict[int, str] = {}
    for each, subject in pairs:
        tell(each.name)
        if quick and each.dear:
            result = each.unasked("left out by --quick")
        elif id(subject) in broken:
            result = each.unasked(f"{broken[id(subject)]} failed, on which it rests")
        else:
            result = each.run(subject)
            is_model = isinstance(subject, Subject)
            if result.status == "failed" and is_model and (each.basic or not subject.can_be_built):
                broken[id(subject)] = each.name
        results.append(result)
        tell(result)
    return results
