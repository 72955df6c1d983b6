"""Which metric a study is compared by, and which way it is good."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.core.measure import Direction, Measure, measure_of, split

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord


@dataclass(frozen=True)
class Metric:
    """What a study is compared by.

    Attributes:
        name: its full name in the store.
        direction: ``min`` where small values are good, ``max`` where large ones are.
        measure: what it measures; None where the runs do not say (they were recorded before that was kept).
        remark: a sentence for the reader where the choice is not the plain one; empty otherwise.
    """

    name: str
    direction: Direction
    measure: Measure | None
    remark: str = ""


def choose_metric(runs: Sequence["RunRecord"], asked: str | None = None, direction: Direction | None = None) -> Metric:
    """The metric that was asked for, else the one that the study's runs name.

    Args:
        runs: the runs of the study, one at least.
        asked: a metric's full name; None for the runs' own.
        direction: which way it is good, for a metric that no run declares.

    Raises:
        ConfigError: no finished run has the metric, the runs share none, its direction is not known, or another one
            than the declared is asked for.
    """
    finished = [run for run in runs if run.finished] or list(runs)
    known = {name for run in finished for name in run.metrics}
    remark = ""
    if asked is None:
        name, remark = _own(finished)
    elif asked in known or not any(run.finished for run in runs):
        name = asked
    else:
        raise ConfigError(
            f"metric: none of the {len(finished)} finished runs has {asked!r}.{nearest(asked, known)} "
            f"Metrics: {choices(known)}."
        )
    measures = {key: measure for run in finished for key, measure in run.measures.items()}
    measure = measure_of(name, measures)
    declared = measure.direction if measure else _declared(name, finished)
    if declared is None and direction is None:
        raise ConfigError(
            f"metric: the runs do not say whether more of {name!r} is better or worse. Add --maximise or --minimise."
        )
    if declared is not None and direction not in (None, declared):
        raise ConfigError(f"metric: {'less' if declared == 'min' else 'more'} of {name!r} is better, always.")
    chosen = declared or direction
    assert chosen is not None
    return Metric(name, chosen, measure, remark)


def on_test(metric: Metric) -> Metric | None:
    """The same on the test split: of the weights at the end of training, or of those that a run keeps."""
    prefix, base = split(metric.name)
    test = {names.LAST: names.LAST_TEST, names.BEST: names.TEST}.get(prefix)
    if test is None:
        return None
    measure = measure_of(f"{test}{base}", {base: metric.measure}) if metric.measure else None
    return Metric(f"{test}{base}", metric.direction, measure)


def _own(runs: Sequence["RunRecord"]) -> tuple[str, str]:
    named = list(dict.fromkeys(run.tags[names.METRIC] for run in runs if names.METRIC in run.tags))
    if not named:
        raise ConfigError("metric: the runs name no primary metric. Name one with --metric.")
    if len(named) == 1:
        return named[0], ""
    shared = [name for name in named if all(name in run.metrics for run in runs)]
    if not shared:
        raise ConfigError(
            f"metric: the runs name different primary metrics ({choices(named)}), none of which all of them have. "
            "Name one with --metric."
        )
    return shared[0], f"The runs name different primary metrics ({choices(named)}); all of them have {shared[0]}."


def _declared(name: str, runs: Sequence["RunRecord"]) -> Direction | None:
    """The direction of the primary metric of runs that were recorded before measures were, and of its relatives."""
    base = name.rpartition("/")[2]
    for run in runs:
        if run.tags.get(names.METRIC, "").rpartition("/")[2] == base and names.DIRECTION in run.tags:
            return "max" if run.tags[names.DIRECTION] == "max" else "min"
    return None
