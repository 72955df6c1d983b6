"""Everything that one command line asks for, composed once: the jobs that are checked are those that are trained."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from lightning_tx.cli import secrecy, sweeper
from lightning_tx.cli.compose import (
    composed,
    composes,
    line_of,
    plain,
    refuse,
    refuse_choices,
    set_values,
    several_values,
    understood,
    values_of,
)
from lightning_tx.cli.composition import Compositions
from lightning_tx.cli.experiments import refuse_unread
from lightning_tx.cli.grammar import parse
from lightning_tx.cli.overruling import overruled
from lightning_tx.cli.plugins import KEY as PLUGINS
from lightning_tx.cli.search_path import CONFIG_GROUPS
from lightning_tx.core.errors import ConfigError
from lightning_tx.studies import design as designs

SEED = "seed"
#: A sweep of more runs, each of which is composed and checked beforehand, is a mistake.
MOST_RUNS = 10_000
#: Keys that say nothing about what is trained.
UNLABELLED = (SEED, "study", "margin", "root", PLUGINS)


@dataclass(frozen=True)
class Job:
    """One run as it was asked for.

    Attributes:
        overrides: the command line's overrides that apply to it.
        config: the resolved config, plain values.
        labels: what was chosen: the label of every group, and every other override.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    labels: dict[str, str]

    @property
    def title(self) -> str:
        """The overrides in one line."""
        return secrecy.shown_frames(" ".join(self.overrides)) or "the baseline"


@dataclass(frozen=True)
class Request:
    """Everything one command line asks for.

    Attributes:
        jobs: the runs, in the sweep's order.
        is_sweep: whether it is a multirun.
        swept: the keys with several values.
    """

    jobs: tuple[Job, ...]
    is_sweep: bool
    swept: tuple[str, ...]


def read_request(
    overrides: Sequence[str], *, multirun: bool, config_dirs: Sequence[str] = (), design: str = "grid"
) -> Request:
    """Compose every job that a command line asks for, without running any; imports the plugin files it lists.

    Args:
        overrides: in Hydra's language.
        multirun: whether keys may have several values; an experiment can say so as well.
        config_dirs: further folders of choices.
        design: which combinations of these values are trained.

    Raises:
        ConfigError: with the problem of each job that cannot be composed, or of each plugin file.
    """
    refuse([f"--config-dir: '{folder}' is no folder." for folder in config_dirs if not Path(folder).is_dir()])
    with understood(overrides, config_dirs) as parsed:
        refuse_choices(parsed)
        refuse(_swept_settings(parsed))
        fixed = [override for override in parsed if not override.is_sweep_override()]
        base = composed([line_of(override) for override in fixed if composes(override)])
        values = [override for override in fixed if not composes(override)]
        if not multirun and str(base.hydra.mode) != "RunMode.MULTIRUN":
            refuse(several_values(parsed))
            set_values(base, values)
            job, problems = _job(parsed, base, base.hydra.runtime.choices, values_of)
            refuse(problems)
            return Request((job,), False, ())
        if base.hydra.sweeper.get("_target_") != sweeper.NAME:
            raise ConfigError("hydra/sweeper: only rows is supported; all jobs are listed and checked beforehand.")
        # What is deleted may be part of a choice that varies.
        set_values(base, [override for override in values if not override.is_delete()])
        given = _params(base.hydra.sweeper.params)
        return _multirun(parse([*given, *overrides]) if given else parsed, design)


def _swept_settings(parsed: Iterable[Override]) -> list[str]:
    return [
        f"{override.get_key_element()}: settings of Hydra have one value each; write several as one text: "
        f"'{override.get_key_element()}=\"{override.get_value_string()}\"'."
        for override in parsed
        if override.is_sweep_override() and override.key_or_group.startswith("hydra.")
    ]


def _params(params: Any) -> list[str]:
    """What an experiment sweeps, as on the command line."""
    if params is None:
        return []
    if not isinstance(params, DictConfig):
        raise ConfigError(f"hydra.sweeper.params: {params!r} is not a mapping of keys to values, as {{seed: '0,1'}}.")
    return [f"{key}={value}" for key, value in params.items()]


def _multirun(parsed: Sequence[Override], design: str) -> Request:
    refuse_choices(parsed)
    last = {override.get_key_element(): override for override in parsed}
    values = {key: _values(override) for key, override in last.items()}
    swept = tuple(key for key, override in last.items() if override.is_sweep_override())
    if math.prod(map(len, values.values())) > MOST_RUNS:
        counts = [f"{key} has {_count(len(values[key]))} values" for key in swept]
        raise ConfigError(f"A sweep has {MOST_RUNS:,} runs at most, and {', '.join(counts)}.")
    levels = {
        key: dict(zip(texts, parse([f"{key}={text}" for text in texts]), strict=True)) for key, texts in values.items()
    }
    compositions = Compositions(_choices(next(iter(values.values())) for values in levels.values()))
    contents = cache(values_of)
    jobs: list[Job] = []
    problems: dict[str, None] = {}
    for row in _rows(levels, swept, design):
        composition = compositions.of(_choices(row))
        set_values(composition.config, [override for override in row if not composes(override)])
        job, overruled_by = _job(row, composition.config, composition.choices, contents)
        jobs.append(job)
        problems |= dict.fromkeys(overruled_by)
    refuse(list(problems))
    return Request(tuple(jobs), True, swept)


def _count(number: int) -> str:
    return f"{number:,}" if number <= MOST_RUNS else f"more than {MOST_RUNS:,}"


def _values(override: Override) -> list[str]:
    """Every value of an override as a launcher is told of it, once each; no more of them than one too many."""
    key = override.get_key_element()
    values = [override.get_value_element_as_str()] if not override.is_sweep_override() else []
    if override.is_discrete_sweep():
        values = list(dict.fromkeys(islice(override.sweep_string_iterator(), MOST_RUNS + 1)))
    if not values:
        raise ConfigError(f"{key}: {override.get_value_string()} has no values that can be listed.")
    return values


def _rows(levels: Mapping[str, Mapping[str, Override]], swept: Sequence[str], design: str) -> Iterator[list[Override]]:
    """The overrides of each row of a design; the first key varies slowest, as written on the command line."""
    seeds = next((key for key in levels if key.lstrip("+") == SEED), SEED)
    factors = {key: list(levels[key]) for key in swept if key != seeds}
    rows = designs.get(design)(factors, list(levels.get(seeds, {"": None})))
    if not rows:
        raise ConfigError(f"design: {design} makes no runs of {', '.join(swept)}.")
    places = {key: {value: place for place, value in enumerate(values)} for key, values in levels.items()}
    chosen: list[dict[str, str]] = [{**row.arm, seeds: row.seed} for row in rows]
    for numbers in sorted([place.get(row.get(key, ""), 0) for key, place in places.items()] for row in chosen):
        yield [list(values.values())[number] for values, number in zip(levels.values(), numbers, strict=True)]


def _choices(overrides: Iterable[Override]) -> tuple[str, ...]:
    return tuple(line_of(override) for override in overrides if composes(override))


def _job(
    overrides: Sequence[Override],
    config: DictConfig,
    chosen: Mapping[str, Any],
    contents: Callable[[str, str], dict[str, Any]],
) -> tuple[Job, list[str]]:
    """The job of these overrides, and what its experiment takes back of them; see :func:`overruled`."""
    lines = tuple(line for line in map(line_of, overrides) if not line.lstrip("+~").startswith("hydra"))
    refuse_unread(config, chosen)
    values = plain(config, contents)
    secrecy.keep_secret(values)
    return Job(lines, values, _labels(chosen, lines)), overruled(values, chosen, overrides, contents)


def _labels(chosen: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    # Where a run is recorded says nothing about what it is.
    telling = [group for group in CONFIG_GROUPS if group != "tracking"]
    labels = {group: str(label) for group, label in chosen.items() if group in telling and label is not None}
    for line in overrides:
        key, _, value = line.lstrip("+~").partition("=")
        if key not in CONFIG_GROUPS and key not in UNLABELLED and not key.startswith("tracking."):
            labels[key] = value
    return labels
