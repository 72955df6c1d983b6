"""Many runs asked for at once: checked together, put into a study's plan, trained one after the other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning_tx.core.errors import ConfigError
from lightning_tx.groups import GROUPS
from lightning_tx.runs.config import RunConfig, unread_problems
from lightning_tx.runs.facts import settle_precision
from lightning_tx.runs.fitting import problems_with
from lightning_tx.runs.identity import identify
from lightning_tx.runs.materials import Materials, forget, materials_of
from lightning_tx.runs.notes import notes_on
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.runs.volatile import VOLATILE
from lightning_tx.runs.waiting import OtherOwners
from lightning_tx.studies.keys import ABSENT, below, flatten, label_of
from lightning_tx.tracking.errors import RunBusy, RunFinished
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
    problems_of: list[list[str]] = []
    for config in raw:
        try:
            configs.append(RunConfig.parse(config))
            problems_of.append([])
        except ConfigError as error:
            problems_of.append(error.problems)
    problems = _told_once(problems_of, titles) or unread_problems(configs, varied)
    if problems:
        raise ConfigError(problems)
    return configs


def check_with_data(asked: Sequence[Asked]) -> None:
    """Read the data of many runs as they are now, and refuse what does not go with them; see :func:`problems_with`.

    Raises:
        ConfigError: with every problem of every run, each told once.
    """
    forget()  # in a notebook, files change between two calls
    problems_of = [problems_with(each.config, each.materials) for each in asked]
    problems = _told_once(problems_of, [each.title for each in asked])
    if problems:
        raise ConfigError(problems)


def notes_of(asked: Sequence[Asked]) -> list[str]:
    """What is odd about runs and no mistake, each told once; see :func:`lightning_tx.runs.notes.notes_on`."""
    return _told_once([notes_on(each.config, each.materials) for each in asked], [each.title for each in asked])


def _told_once(sentences_of: Sequence[Sequence[str]], titles: Sequence[str]) -> list[str]:
    """The sentences about each of several runs, each once, with the first of its runs where it is not about all."""
    about: dict[str, list[str]] = {}
    for sentences, title in zip(sentences_of, titles, strict=True):
        for sentence in sentences:
            about.setdefault(sentence, []).append(title)
    told = []
    for sentence, those in about.items():
        others = f" and {len(those) - 1} more" if len(those) > 1 else ""
        told.append(sentence if len(those) == len(titles) else f"{sentence} (in {those[0]}{others})")
    return told


def open_study(name: str, asked: Sequence[Asked], *, overrides: Sequence[str] = (), margin: Any = None) -> Study:
    """The study of this name, with everything that is asked for in its plan.

    Raises:
        ConfigError: the name cannot be used, or the margin cannot be stated any more.
    """
    store = open_store(asked[0].config.raw)
    for each in asked:
        store.keep_secret(each.config.raw)
    study = Study.open(store, name, overrides=overrides, margin=margin)
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

    A run that fails is recorded and does not end the others. A run that another process trains is waited for at the
    end, and taken up if that process leaves it unfinished.

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
    parsed = [config.in_study(study) for config in parse_all(configs, titles)]
    asked = [
        Asked(config, title, config.read_only(labels))
        for config, title, labels in zip(parsed, titles, labels_of(configs), strict=True)
    ]
    check_with_data(asked)
    own = open_study(study, asked, margin=margin)
    settle_precision(own, parsed)
    for note in notes_of(asked):
        say(f"note: {note}")
    others, left = OtherOwners(own.store, study, say), list(asked)
    while left:
        for each in left:
            try:
                train(each.config, name=each.title, labels=each.labels, store=own.store, study=own, callbacks=callbacks)
            except RunFinished:
                say(f"{each.title}: finished before")
            except RunBusy as busy:
                say(f"{each.title}: left to {busy.owner}")
                others.add(each.identity, each.title)
            except Exception as error:
                say(f"{each.title}: failed: {error}")
            else:
                say(f"{each.title}: finished")
        free = others.wait()
        left = [next(each for each in asked if each.identity == identity) for identity in free]
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
