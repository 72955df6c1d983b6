"""The combinations of a study as a table: what each reached, and what it cost."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from lightning_tx.core import names
from lightning_tx.core.measure import Direction
from lightning_tx.studies.cell_model import fit
from lightning_tx.studies.confounds import STEADY, sizes
from lightning_tx.studies.factors import Factor
from lightning_tx.studies.ordering import not_told_apart
from lightning_tx.studies.places import place_of

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord


@dataclass(frozen=True)
class Combination:
    """The finished runs of one combination of levels.

    Attributes:
        levels: level by factor, and by the setting that differs without having been swept, if there is one.
        mean: of the primary metric over seeds.
        spread: its standard deviation over seeds; None for one seed.
        num_seeds: number of runs.
        told_apart: whether its difference from the best combination is settled; None for the best one itself.
        parameters: total number of parameters, None where it was not recorded.
        tokens_per_second: median training speed, None where it was not recorded.
        steady: whether the runs agree on the speed.
        run_ids: the runs.
    """

    levels: dict[str, str]
    mean: float
    spread: float | None
    num_seeds: int
    told_apart: bool | None
    parameters: float | None
    tokens_per_second: float | None
    steady: bool
    run_ids: tuple[str, ...]


def combinations(
    runs: Sequence["RunRecord"],
    factors: Sequence[Factor],
    table: pd.DataFrame,
    metric: str,
    direction: Direction,
    level: float,
) -> list[Combination]:
    """The combinations, best first.

    Args:
        runs: one run for each combination and seed.
        factors: the columns that make up a combination.
        table: the same runs as a table.
        metric: the primary metric.
        direction: whether small (``min``) or large (``max``) values are good.
        level: at which differences from the best are settled, all together.
    """
    if not runs:
        return []
    members: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in runs:
        members.setdefault(place_of(run, factors)[0], []).append(run)
    means = {cell: statistics.fmean(run.metrics[metric] for run in own) for cell, own in members.items()}
    best_first = sorted(means, key=lambda cell: means[cell], reverse=direction == "max")
    columns = [factor.name for factor in factors]
    close = set(means)
    if columns:
        model = fit(table, columns)
        close = {model.cells[number] for number in not_told_apart(model, direction, level)}
    return [
        _row(columns, cell, members[cell], metric, None if cell == best_first[0] else cell not in close)
        for cell in best_first
    ]


def _row(
    factors: Sequence[str], cell: tuple[str, ...], runs: Sequence["RunRecord"], metric: str, told_apart: bool | None
) -> Combination:
    values = [run.metrics[metric] for run in runs]
    totals = [count[names.TOTAL_PARAMETERS] for run in runs if names.TOTAL_PARAMETERS in (count := sizes(run))]
    speeds = [run.metrics[names.TOKENS_PER_SECOND] for run in runs if names.TOKENS_PER_SECOND in run.metrics]
    return Combination(
        levels=dict(zip(factors, cell, strict=True)),
        mean=statistics.fmean(values),
        spread=statistics.stdev(values) if len(values) > 1 else None,
        num_seeds=len(values),
        told_apart=told_apart,
        parameters=statistics.fmean(totals) if totals else None,
        tokens_per_second=statistics.median(speeds) if speeds else None,
        steady=not speeds or max(speeds) <= STEADY * min(speeds),
        run_ids=tuple(run.run_id for run in runs),
    )
