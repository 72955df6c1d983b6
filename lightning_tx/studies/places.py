"""Which run stands where in a study: combination, seed, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pandas as pd

from lightning_tx.core import names
from lightning_tx.studies.cell_model import SEED, VALUE
from lightning_tx.studies.factors import Factor

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord
    from lightning_tx.tracking.study import Row

#: The column for settings that differ without having been swept, when there are several of them.
SETTINGS = "settings"

#: A level of every factor, and a seed.
Place = tuple[tuple[str, ...], int | None]


@dataclass(frozen=True)
class Unfinished:
    """A run that was asked for and has no usable value, and why in one line; ``run_id`` is None if it never started."""

    name: str
    seed: int | None
    reason: str
    run_id: str | None


def changed_settings(unswept: Mapping[str, Mapping[str, str]], runs: Sequence["RunRecord"]) -> Factor:
    """What was changed between sweeps as one column: the key itself, or letters that stand for sets of values."""
    values = {run.run_id: tuple(labels.get(run.run_id, "") for labels in unswept.values()) for run in runs}
    distinct = list(dict.fromkeys(values.values()))
    if len(unswept) == 1:
        name, label = next(iter(unswept)), {value: value[0] for value in distinct}
    else:
        name, label = SETTINGS, {value: _letter(number) for number, value in enumerate(distinct)}
    return Factor(name, tuple(unswept), tuple(label.values()), {key: label[value] for key, value in values.items()})


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"#{number + 1}"


def place_of(run: "RunRecord", factors: Sequence[Factor]) -> Place:
    """Where a run stands."""
    return tuple(factor.level[run.run_id] for factor in factors), run.seed


def latest_of_each_place(runs: Sequence["RunRecord"], factors: Sequence[Factor]) -> list["RunRecord"]:
    """Of runs in the same place the one that started last, in the order of ``runs``."""
    latest = {place_of(run, factors): run for run in sorted(runs, key=_started)}
    return [run for run in runs if latest[place_of(run, factors)] is run]


def _started(run: "RunRecord") -> datetime:
    return run.start_time or datetime.min.replace(tzinfo=UTC)


def table_of(runs: Sequence["RunRecord"], factors: Sequence[Factor], metric: str) -> pd.DataFrame:
    """The table that the statistics read: a column per factor, the seed, and the value of the metric."""
    rows = [
        {factor.name: factor.level[run.run_id] for factor in factors} | {SEED: run.seed, VALUE: run.metrics[metric]}
        for run in runs
    ]
    return pd.DataFrame(rows, columns=[*(factor.name for factor in factors), SEED, VALUE])


def unfinished(
    runs: Sequence["RunRecord"], rows: Sequence["Row"], usable: set[str], factors: Sequence[Factor], metric: str
) -> list[Unfinished]:
    """What was asked for and did not end with a value, each with the reason of its latest run.

    A combination that nobody asked for is not missing.

    Args:
        runs: every run of the study, in order.
        rows: what its sweeps asked for; a run that is in none of them was asked for by itself.
        usable: ids of the runs with a value.
        factors: the study's factors.
        metric: name of the metric that is compared.
    """
    asked = {row.identity: row for row in rows}
    missing = []
    for identity, own in _expected(runs, rows, usable, factors).items():
        if any(run.run_id in usable for run in own):
            continue
        last = max(own, key=_started, default=None)
        missing.append(
            Unfinished(
                name=name_of(last, factors) if last else asked[identity].name,
                seed=last.seed if last else asked[identity].seed,
                reason=reason_of(last, metric) if last else "not run",
                run_id=last.run_id if last else None,
            )
        )
    return missing


def num_expected(
    runs: Sequence["RunRecord"], rows: Sequence["Row"], usable: set[str], factors: Sequence[Factor]
) -> int:
    """How many runs a study is made of: those asked for and those that ran unasked; arguments as for ``unfinished``."""
    return len(_expected(runs, rows, usable, factors))


def _expected(
    runs: Sequence["RunRecord"], rows: Sequence["Row"], usable: set[str], factors: Sequence[Factor]
) -> dict[str, list["RunRecord"]]:
    """The runs by identity, those asked for first; without unasked ones that were lost and whose place another took."""
    known: dict[str, list[RunRecord]] = {row.identity: [] for row in rows}
    done = {place_of(run, factors) for run in runs if run.run_id in usable}
    for run in runs:
        if run.identity in known or run.run_id in usable or place_of(run, factors) not in done:
            known.setdefault(run.identity, []).append(run)
    return known


def name_of(run: "RunRecord", factors: Sequence[Factor]) -> str:
    """Which run is meant: ``positions=rope attention=gqa seed=2``."""
    labels = [f"{factor.name}={factor.level[run.run_id]}" for factor in factors]
    return " ".join([*labels, *([] if run.seed is None else [f"seed={run.seed}"])]) or "the run"


def reason_of(run: "RunRecord", metric: str) -> str:
    """Why a run has no usable value."""
    if run.status == "FINISHED":
        return f"{metric} is {run.metrics[metric]}" if metric in run.metrics else f"{metric} was not recorded"
    if run.status == "RUNNING":
        return "still running, or cut off"
    return " ".join(run.tags.get(names.REASON, f"{run.status.lower()}, no reason recorded").split())
