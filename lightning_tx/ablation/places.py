"""Which run stands where in a study: combination, seed, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from lightning_tx.ablation.cell_model import SEED, VALUE
from lightning_tx.ablation.factors import Factor
from lightning_tx.tracking import tags

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

#: The column for settings that differ without having been swept, when there are several of them.
SETTINGS = "settings"

#: A level of every factor, and a seed.
Place = tuple[tuple[str, ...], int | None]


@dataclass(frozen=True)
class Unfinished:
    """A combination and seed without a usable value, and why in one line; ``run_id`` is None if it never ran."""

    levels: dict[str, str]
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


def runs_by_place(runs: Sequence["RunRecord"], factors: Sequence[Factor]) -> dict[Place, list["RunRecord"]]:
    """The runs of every combination and seed; combinations that ran at all are expected with every seed."""
    cells = list(dict.fromkeys(place_of(run, factors)[0] for run in runs))
    seeds = sorted({run.seed for run in runs}, key=lambda seed: (seed is not None, seed))
    places: dict[Place, list[RunRecord]] = {(cell, seed): [] for cell in cells for seed in seeds}
    for run in runs:
        places[place_of(run, factors)].append(run)
    return places


def latest_of_each_place(runs: Sequence["RunRecord"], factors: Sequence[Factor]) -> list["RunRecord"]:
    """Of runs in the same place the one that started last; ``runs`` are in order."""
    return list({place_of(run, factors): run for run in runs}.values())


def table_of(runs: Sequence["RunRecord"], factors: Sequence[Factor], metric: str) -> pd.DataFrame:
    """The table that the statistics read: a column per factor, the seed, and the value of the metric."""
    rows = [
        {factor.name: factor.level[run.run_id] for factor in factors} | {SEED: run.seed, VALUE: run.metrics[metric]}
        for run in runs
    ]
    return pd.DataFrame(rows, columns=[*(factor.name for factor in factors), SEED, VALUE])


def unfinished(
    places: Mapping[Place, Sequence["RunRecord"]],
    usable: set[str],
    factors: Sequence[Factor],
    metric: str,
) -> list[Unfinished]:
    """The places without a usable run, each with the reason of its latest run.

    Args:
        places: the runs of every place.
        usable: ids of the runs with a value.
        factors: the study's factors.
        metric: name of the primary metric.
    """
    return [
        Unfinished(
            levels=dict(zip((factor.name for factor in factors), cell, strict=True)),
            seed=seed,
            reason=_reason(members[-1], metric) if members else "not run",
            run_id=members[-1].run_id if members else None,
        )
        for (cell, seed), members in places.items()
        if not any(run.run_id in usable for run in members)
    ]


def _reason(run: "RunRecord", metric: str) -> str:
    if run.status == "FINISHED":
        return f"{metric} is {run.metrics[metric]}" if metric in run.metrics else f"{metric} was not recorded"
    if run.status == "RUNNING":
        return "still running, or cut off"
    return " ".join(run.tags.get(tags.REASON, f"{run.status.lower()}, no reason recorded").split())
