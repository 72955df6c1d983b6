"""Many runs asked for at once: checked together, put into a study's plan, trained one after the other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lightning_tx.core.errors import ConfigError
from lightning_tx.groups import GROUPS
from lightning_tx.runs.config import RunConfig, unread_problems
from lightning_tx.runs.facts import settle_precision
from lightning_tx.runs.fitting import problems_with
from lightning_tx.runs.identity import VOLATILE, identify
from lightning_tx.runs.materials import Materials, materials_of
from lightning_tx.runs.notes import notes_on
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.studies.keys import ABSENT, below, flatten, label_of
from lightning_tx.tracking.errors import RunFinished
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.study import Row, Study

#: What every run of a sweep may have for itself and is no label.
_UNLABELLED = below(["seed", *VOLATILE])


@dataclass(frozen=True)
class Asked:
    """One run of a sweep.

    Attributes:
        config: its config.
        title: what tells it from the others, in a line.
        labels: what was chosen, by group or key.
    """

    config: RunConfig
    title: str
    labels: dict[str, str]

    @cached_property
    def materials(self) -> Materials:
        """What the run is made from; its data are read for it."""
        return materials_of(self.config)

    @cached_property
    def identity(self) -> str:
        """The run's identity; its data are read for it."""
        return identify(self.config)


def parse_all(raw: Sequence[Mapping[str, Any]], titles: Sequence[str], varied: Iterable[str] = ()) -> list[RunConfig]:
    """The configs of many runs, all checked.

    Args:
        raw: plain configs.
        titles: what tells each from the others.
        varied: the groups and options that were given several values.

    Raises:
        ConfigError: with every problem of every run, each told once, and what is varied although nothing reads it.
    """
    configs: list[RunConfig] = []
    found: dict[str, list[str]] = {}
    for config, title in zip(raw, titles, strict=True):
        try:
            configs.append(RunConfig.parse(config))
        except ConfigError as error:
            for problem in error.problems:
                found.setdefault(problem, []).append(title)
    problems = [_told(problem, those, len(raw)) for problem, those in found.items()]
    if not found:
        problems += unread_problems(configs, varied)
    if problems:
        raise ConfigError(problems)
    return configs


def check_with_data(asked: Sequence[Asked]) -> None:
    """Read the data of many runs, and refuse what does not go with them; see :func:`problems_with`.

    Raises:
        ConfigError: with every problem of every run, each told once.
    """
    found: dict[str, list[str]] = {}
    for each in asked:
        for problem in problems_with(each.config, each.materials):
            found.setdefault(problem, []).append(each.title)
    if found:
        raise ConfigError([_told(problem, titles, len(asked)) for problem, titles in found.items()])


def notes_of(asked: Sequence[Asked]) -> list[str]:
    """What is odd about runs and no mistake, each told once; see :func:`lightning_tx.runs.notes.notes_on`."""
    found: dict[str, list[str]] = {}
    for each in asked:
        for note in notes_on(each.config, each.materials):
            found.setdefault(note, []).append(each.title)
    return [_told(note, titles, len(asked)) for note, titles in found.items()]


def _told(sentence: str, titles: Sequence[str], total: int) -> str:
    """A sentence about some runs of all, with the first of them where it is not about all."""
    if len(titles) == total:
        return sentence
    others = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
    return f"{sentence} (in {titles[0]}{others})"


def open_study(name: str, asked: Sequence[Asked], *, overrides: Sequence[str] = (), margin: Any = None) -> Study:
    """The study of this name, with everything that is asked for in its plan.

    Raises:
        ConfigError: the name cannot be used, or the margin cannot be stated any more.
    """
    study = Study.open(open_store(asked[0].config.raw), name, overrides=overrides, margin=margin)
    study.ask([Row(each.identity, each.title, each.config.seed, each.labels) for each in asked])
    return study


def sweep(
    configs: Sequence[Mapping[str, Any]],
    *,
    study: str,
    margin: str | float | None = None,
    callbacks: Sequence[Any] = (),
    say: Callable[[str], None] = lambda _: None,
) -> list[RunRecord]:
    """Train many runs as one study, one after the other in this process; what is finished is not trained again.

    A run that fails is recorded and does not end the others.

    Args:
        configs: plain configs, as :func:`lightning_tx.compose` gives them.
        study: the study's name; more runs can be added to it at any time.
        margin: the difference that matters, as ``0.01`` or ``1%``; taken only before a run has finished.
        callbacks: further Lightning callbacks for every run.
        say: told of each run when it has ended.

    Returns:
        The records of the runs, in the order of the configs; a run that failed has no finished record and its status
        says so.

    Raises:
        ConfigError: with every problem of every config; then nothing was trained and nothing recorded.
    """
    if not configs:
        raise ConfigError("configs: none were given.")
    titles = _titles(configs)
    parsed = [replace(config, study=study, raw={**config.raw, "study": study}) for config in parse_all(configs, titles)]
    asked = [
        Asked(config, title, config.read_only(labels))
        for config, title, labels in zip(parsed, titles, labels_of(configs), strict=True)
    ]
    check_with_data(asked)
    own = open_study(study, asked, margin=margin)
    settle_precision(own, parsed)
    for note in notes_of(asked):
        say(f"note: {note}")
    for each in asked:
        try:
            train(each.config, name=each.title, labels=each.labels, store=own.store, study=own, callbacks=callbacks)
        except RunFinished:
            say(f"{each.title}: finished before")
        except Exception as error:
            say(f"{each.title}: failed: {error}")
        else:
            say(f"{each.title}: finished")
    by_identity = {run.identity: run for run in own.runs()}
    records = [by_identity[each.identity] for each in asked if each.identity in by_identity]
    complete = len(records) == len(asked) and all(record.finished for record in records)
    own.finish("FINISHED" if complete else "FAILED")
    return records


def labels_of(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What was chosen in each of some configs: the component of every group, and the options in which they differ."""
    differing = _differing(configs)
    return [
        {group: str(config[group]["name"]) for group in GROUPS if group in config}
        | {key: label_of(flat.get(key, ABSENT)) for key in differing if not key.endswith(".name")}
        for config, flat in zip(configs, map(flatten, configs), strict=True)
    ]


def _titles(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    differing = [*_differing(configs), "seed"]
    return [
        " ".join(f"{key.removesuffix('.name')}={label_of(flat[key])}" for key in differing if key in flat)
        for flat in map(flatten, configs)
    ]


def _differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys in which configs differ, in the order in which they stand; those of a choice that differs left out."""
    flat = [flatten(config) for config in configs]
    keys = [key for key in dict.fromkeys(key for each in flat for key in each) if not _UNLABELLED(key)]
    differing = [key for key in keys if len({label_of(each.get(key, ABSENT)) for each in flat}) > 1]
    chosen = below([key.removesuffix(".name") for key in differing if key.endswith(".name")])
    return [key for key in differing if key.endswith(".name") or not chosen(key)]
