"""The report of a study: combinations, effects, and what a reader must know to believe them."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_tx.ablation import cautions, wording
from lightning_tx.ablation.confounds import Confound, confounds, sizes, unplanned
from lightning_tx.ablation.factors import Factor, choose_baselines, find_factors, in_order
from lightning_tx.ablation.interactions import Interaction, interactions
from lightning_tx.ablation.places import (
    Unfinished,
    changed_settings,
    latest_of_each_place,
    place_of,
    runs_by_place,
    table_of,
    unfinished,
)
from lightning_tx.ablation.spread import uneven_spread
from lightning_tx.ablation.statistics import Direction, Effect, check_direction, effects
from lightning_tx.core.errors import ConfigError, choices, nearest

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

TOKENS_PER_SECOND = "train/tokens_per_second"


@dataclass(frozen=True)
class Combination:
    """The finished runs of one combination of levels.

    Attributes:
        levels: level by factor, and by the setting that differs without having been swept, if there is one.
        mean: of the primary metric over seeds.
        spread: its standard deviation over seeds; None for one seed.
        num_seeds: number of runs.
        parameters: total number of parameters, None where it was not recorded.
        tokens_per_second: mean training speed, None where it was not recorded.
        run_ids: the runs.
    """

    levels: dict[str, str]
    mean: float
    spread: float | None
    num_seeds: int
    parameters: float | None
    tokens_per_second: float | None
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything the renderers need.

    Attributes:
        study: the study's name.
        metric: name of the primary metric.
        direction: ``min`` where small values are good, ``max`` where large ones are.
        factors: what the study varies, first levels being baselines unless told otherwise.
        baselines: baseline level by factor.
        combinations: best first.
        effects: by factor and level, in the sweep's order.
        interactions: the pairs of factors that could be tested.
        confounds: what differs besides each factor.
        unfinished: what is missing.
        num_runs: combinations times seeds that the study is made of.
        num_seeds: number of different seeds among the runs that count.
        settled: sentences on the differences that are real.
        unsettled: sentences on those that are not told apart from chance.
        untested: sentences on what could not be compared.
        interplay: sentences on whether effects depend on each other.
        differences: sentences on what differs besides the factors.
        cautions: sentences on what limits the comparison.
    """

    study: str
    metric: str
    direction: Direction
    factors: tuple[Factor, ...]
    baselines: dict[str, str]
    combinations: tuple[Combination, ...]
    effects: tuple[Effect, ...]
    interactions: tuple[Interaction, ...]
    confounds: tuple[Confound, ...]
    unfinished: tuple[Unfinished, ...]
    num_runs: int
    num_seeds: int
    settled: tuple[str, ...]
    unsettled: tuple[str, ...]
    untested: tuple[str, ...]
    interplay: tuple[str, ...]
    differences: tuple[str, ...]
    cautions: tuple[str, ...]


def build_report(
    study_name: str,
    runs: Sequence["RunRecord"],
    configs: Mapping[str, Mapping[str, Any]],
    metric: str,
    direction: Direction,
    baselines: Mapping[str, str] | None = None,
    volatile: Iterable[str] = (),
) -> Report:
    """Compare the runs of a study.

    Args:
        study_name: for the title.
        runs: every run of the study without its parent, whatever became of it.
        configs: resolved nested configs by run id.
        metric: name of the primary metric.
        direction: whether a small (``min``) or a large (``max``) value is good.
        baselines: baseline level by factor; a factor's first level in the sweep unless told.
        volatile: keys of the config that have no bearing on results (paths, devices, workers, logging).

    Raises:
        ConfigError: no finished run has the metric, or the direction, or a baseline, does not exist.
    """
    check_direction(direction)
    runs, volatile = in_order(runs), tuple(volatile)
    factors = find_factors(runs, configs, volatile)
    baseline_of = choose_baselines(factors, baselines)
    finished = [run for run in runs if run.status == "FINISHED"]
    _check_metric(finished, metric)
    measured = [run for run in finished if math.isfinite(run.metrics.get(metric, math.nan))]

    unswept = unplanned(measured, configs, factors, volatile)
    settings = [changed_settings(unswept, measured)] if unswept else []
    columns = [*factors, *settings]
    names, matched_on = [factor.name for factor in factors], [factor.name for factor in settings]
    used = latest_of_each_place(measured, columns)
    table = table_of(used, columns, metric)
    places = runs_by_place(runs, factors)

    found = tuple(effects(table, names, direction, baseline_of, matched_on))
    between = tuple(interactions(table, names, matched_on))
    besides = tuple(c for c in confounds(used, configs, columns, baseline_of, volatile) if c.factor in names)
    return Report(
        study=study_name,
        metric=metric,
        direction=direction,
        factors=tuple(factors),
        baselines=baseline_of,
        combinations=tuple(_combinations(used, columns, metric, direction)),
        effects=found,
        interactions=between,
        confounds=besides,
        unfinished=tuple(unfinished(places, {run.run_id for run in measured}, factors, metric)),
        num_runs=len(places),
        num_seeds=len({run.seed for run in used}),
        settled=tuple(wording.settled(found, metric)),
        unsettled=tuple(wording.unsettled(found)),
        untested=tuple(wording.untested(factors, table, found)),
        interplay=tuple(wording.interplay(between, table, found, baseline_of, matched_on, direction)),
        differences=tuple(cautions.differences(besides)),
        cautions=(
            *cautions.unplanned(unswept, settings),
            *cautions.repeated(measured, used),
            *cautions.provenance(used, configs),
            *cautions.uneven(uneven_spread(table, [*names, *matched_on]), columns),
            *cautions.seeds_without_spread(found),
        ),
    )


def _check_metric(finished: Sequence["RunRecord"], metric: str) -> None:
    known = {name for run in finished for name in run.metrics}
    if finished and metric not in known:
        raise ConfigError(
            f"metric: none of the {len(finished)} finished runs has {metric!r}.{nearest(metric, known)} "
            f"Metrics: {choices(known)}."
        )


def _combinations(
    runs: Sequence["RunRecord"], factors: Sequence[Factor], metric: str, direction: Direction
) -> list[Combination]:
    cells: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in runs:
        cells.setdefault(place_of(run, factors)[0], []).append(run)
    rows = []
    for levels, members in cells.items():
        values = [run.metrics[metric] for run in members]
        totals = [count["params/total"] for run in members if "params/total" in (count := sizes(run))]
        speeds = [run.metrics[TOKENS_PER_SECOND] for run in members if TOKENS_PER_SECOND in run.metrics]
        rows.append(
            Combination(
                levels=dict(zip((factor.name for factor in factors), levels, strict=True)),
                mean=statistics.fmean(values),
                spread=statistics.stdev(values) if len(values) > 1 else None,
                num_seeds=len(values),
                parameters=statistics.fmean(totals) if totals else None,
                tokens_per_second=statistics.fmean(speeds) if speeds else None,
                run_ids=tuple(run.run_id for run in members),
            )
        )
    return sorted(rows, key=lambda row: row.mean, reverse=direction == "max")
