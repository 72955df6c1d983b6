"""The report of a study: combinations, effects, and what a reader must know to believe them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from lightning_tx.core.margin import Margin
from lightning_tx.core.measure import Direction
from lightning_tx.studies import cautions, wording
from lightning_tx.studies.combinations import Combination, combinations
from lightning_tx.studies.comparability import alternatives, incomparable, incomparable_words
from lightning_tx.studies.confounds import Confound, confounds, unplanned
from lightning_tx.studies.factors import Factor, choose_baselines, find_factors, in_order
from lightning_tx.studies.identical import identical_beside
from lightning_tx.studies.interactions import Interaction, interactions
from lightning_tx.studies.looks import Look
from lightning_tx.studies.metric import Metric, on_test
from lightning_tx.studies.ordering import rankings, trends
from lightning_tx.studies.outcomes import losses, outcome_of
from lightning_tx.studies.places import (
    Unfinished,
    changed_settings,
    latest_of_each_place,
    num_expected,
    table_of,
    unfinished,
)
from lightning_tx.studies.spread import uneven_spread
from lightning_tx.studies.statistics import INCONCLUSIVE, Effect, current_look, effects

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord
    from lightning_tx.tracking.study import Row


@dataclass(frozen=True)
class Report:
    """Everything the renderers need.

    Attributes:
        study: the study's name.
        metric: name of the metric that is compared.
        direction: ``min`` where small values are good, ``max`` where large ones are.
        look: which look at the study this is, and how strictly it judges.
        factors: what the study varies, first levels being baselines unless told otherwise.
        baselines: baseline level by factor.
        combinations: best first.
        effects: by factor and level, in the sweep's order.
        test_metric: name of the same metric on the test split; empty where there is none.
        test_effects: the same effects on the test split; empty where it was not measured.
        interactions: the pairs of factors that could be tested.
        confounds: what differs besides each factor.
        unfinished: what was asked for and is missing.
        num_diverged: how many runs ended without a number.
        num_runs: runs that were asked for.
        num_seeds: number of different seeds among the runs that count.
        averaged_over: over which levels of the other factors, for a note.
        dependent: sentences on effects that change sign with another factor.
        settled: sentences on the effects that are settled.
        unsettled: sentences on those that are not.
        untested: sentences on what could not be compared.
        lost: sentences on runs that diverged or were lost, by level.
        on_test: sentences on what the test split says otherwise.
        interplay: sentences on whether effects depend on each other.
        order: sentences on the order of levels, and on trends.
        differences: sentences on what differs besides the factors.
        cautions: sentences on what limits the comparison.
    """

    study: str
    metric: str
    direction: Direction
    look: Look
    factors: tuple[Factor, ...]
    baselines: dict[str, str]
    combinations: tuple[Combination, ...]
    effects: tuple[Effect, ...]
    test_metric: str
    test_effects: tuple[Effect, ...]
    interactions: tuple[Interaction, ...]
    confounds: tuple[Confound, ...]
    unfinished: tuple[Unfinished, ...]
    num_diverged: int
    num_runs: int
    num_seeds: int
    averaged_over: str
    dependent: tuple[str, ...]
    settled: tuple[str, ...]
    unsettled: tuple[str, ...]
    untested: tuple[str, ...]
    lost: tuple[str, ...]
    on_test: tuple[str, ...]
    interplay: tuple[str, ...]
    order: tuple[str, ...]
    differences: tuple[str, ...]
    cautions: tuple[str, ...]


def build_report(
    study_name: str,
    runs: Sequence["RunRecord"],
    configs: Mapping[str, Mapping[str, Any]],
    metric: Metric,
    *,
    baselines: Mapping[str, str] | None = None,
    volatile: Iterable[str] = (),
    rows: Sequence["Row"] = (),
    margin: Margin | None = None,
    looks: Sequence[int] = (),
    may_switch: bool = False,
) -> Report:
    """Compare the runs of a study.

    Args:
        study_name: for the title.
        runs: every run of the study without its parent, whatever became of it.
        configs: resolved nested configs by run id.
        metric: what they are compared by.
        baselines: baseline level by factor; a factor's first level in the sweep unless told.
        volatile: keys of the config that have no bearing on results (paths, devices, workers, logging).
        rows: what the study's sweeps asked for, in their order; empty where that was not recorded.
        margin: the difference that matters, in the metric's unit or as a share of the baseline.
        looks: how many seeds earlier looks at the study saw.
        may_switch: whether another metric of the same task may take the place of one whose values cannot be compared.

    Raises:
        ConfigError: a baseline does not exist.
    """
    runs, volatile = in_order(runs, rows), tuple(volatile)
    factors = find_factors(runs, configs, volatile)
    baseline_of = choose_baselines(factors, baselines)
    remarks = [metric.remark] if metric.remark else []

    measured = _measured(runs, metric.name)
    apart = incomparable(measured, factors, baseline_of, metric)
    others = alternatives(measured, factors, baseline_of, metric) if apart else []
    if apart and others and may_switch:
        reasons = incomparable_words(apart, baseline_of, metric.name, others[0].name)
        remarks += [f"{reason} It is used here." for reason in reasons]
        if margin is not None and not margin.relative:
            remarks.append(f"The margin of {margin.text} is one of {metric.name} and is not used.")
            margin = None
        metric, apart = others[0], {}
        measured = _measured(runs, metric.name)

    unswept = unplanned(measured, configs, factors, volatile)
    settings = [changed_settings(unswept, measured)] if unswept else []
    columns = [*factors, *settings]
    names, matched_on = [factor.name for factor in factors], [factor.name for factor in settings]
    used = latest_of_each_place(measured, columns)
    table = table_of(used, columns, metric.name)
    num_seeds = len({run.seed for run in used})
    look = current_look(looks, num_seeds)

    found = effects(
        table, names, metric.direction, baseline_of, matched_on, margin=margin, looks=looks, not_comparable=apart
    )
    num_tests = sum(effect.p_value is not None for effect in found)
    # Levels that cannot be compared make up combinations, and nothing else.
    in_one_unit = [name for name in names if all(factor != name for factor, _ in apart)]
    beside = [name for name in [*names, *matched_on] if name not in in_one_unit]
    between = tuple(interactions(table, in_one_unit, beside))
    within = _within(between, look.verdict, table, baseline_of, [*names, *matched_on], metric.direction)
    lost = losses(runs, factors, baseline_of, metric.name)
    found = [lost.judge(effect) for effect in lost.with_absent(found, baseline_of)]
    found, dependent = _dependent(found, between, within)
    tested = on_test(metric)
    test = _effects_on_test(tested, used, columns, names, baseline_of, matched_on, looks) if tested else []
    besides = tuple(c for c in confounds(used, configs, columns, baseline_of, volatile) if c.factor in names)
    usable = {run.run_id for run in measured}
    missing = unfinished(runs, rows, usable, factors, metric.name)
    ended = {run.run_id for run in runs if outcome_of(run, metric.name) == "diverged"}
    diverged = [entry for entry in missing if entry.run_id in ended]
    told = {
        effect: wording.finding(effect, look, num_tests, wording.context_words(effect, table))
        for effect in found
        if effect.estimate is not None
    }
    return Report(
        study=study_name,
        metric=metric.name,
        direction=metric.direction,
        look=look,
        factors=tuple(factors),
        baselines=baseline_of,
        combinations=tuple(combinations(used, columns, table, metric.name, metric.direction, look.verdict)),
        effects=tuple(found),
        test_metric=tested.name if tested and test else "",
        test_effects=tuple(test),
        interactions=between,
        confounds=besides,
        unfinished=tuple(entry for entry in missing if entry not in diverged),
        num_diverged=len(diverged),
        num_runs=num_expected(runs, rows, usable, factors),
        num_seeds=num_seeds,
        averaged_over=wording.averaged_over(factors, table),
        dependent=tuple(dependent),
        settled=tuple(sentence for effect, sentence in told.items() if effect.settled),
        unsettled=tuple(
            sentence
            for effect, sentence in told.items()
            if effect.verdict.startswith(INCONCLUSIVE) and effect.p_value is not None
        ),
        untested=(
            *(incomparable_words(apart, baseline_of, metric.name, others[0].name if others else None)),
            *wording.untested(factors, table, found, identical_beside(table, names, baseline_of, matched_on)),
        ),
        lost=(*lost.sentences(), *(f"{entry.name}: {entry.reason.rstrip('.')}." for entry in diverged)),
        on_test=tuple(wording.against_test(found, test)),
        interplay=tuple(wording.interplay(between, within, baseline_of, look.verdict)),
        order=(
            *(
                wording.ranking_words(entry)
                for entry in rankings(table, in_one_unit, metric.direction, baseline_of, beside)
            ),
            *(wording.trend_words(trend, look) for trend in trends(table, in_one_unit, look, beside)),
        ),
        differences=tuple(cautions.differences(besides)),
        cautions=(
            *remarks,
            *cautions.aliased(factors),
            *cautions.unread(factors),
            *cautions.unplanned(unswept, settings),
            *cautions.repeated(measured, used),
            *cautions.provenance(used, configs),
            *cautions.between_seeds(used),
            *cautions.unknown_facts(used),
            *cautions.nonfinite(used),
            *cautions.ended_early(used),
            *cautions.uneven(uneven_spread(table, [*names, *matched_on]), columns),
            *cautions.untuned(used, configs, factors),
        ),
    )


def _measured(runs: Sequence["RunRecord"], metric: str) -> list["RunRecord"]:
    return [run for run in runs if run.finished and math.isfinite(run.metrics.get(metric, math.nan))]


def _within(
    between: Sequence[Interaction],
    level: float,
    table: pd.DataFrame,
    baselines: Mapping[str, str],
    columns: Sequence[str],
    direction: Direction,
) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """For both ways of every settled pair the effects of each level by level of the other factor."""
    settled = [pair.factors for pair in between if pair.p_value < level]
    ways = [way for a, b in settled for way in ((a, b), (b, a))]
    return {(a, b): wording.effects_within(a, b, table, baselines, columns, direction) for a, b in ways}


def _dependent(
    found: Sequence[Effect],
    between: Sequence[Interaction],
    within: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]],
) -> tuple[list[Effect], list[str]]:
    """Effects whose sign changes with another factor, where that interaction is settled: that is their verdict."""
    p_values = {frozenset(pair.factors): pair.p_value for pair in between}
    judged, sentences = [], []
    for effect in found:
        for (factor, other), levels in within.items():
            values = levels.get(effect.level, {}) if factor == effect.factor else {}
            if values and min(values.values()) < 0 < max(values.values()):
                sentences.append(wording.dependence(effect, other, values, p_values[frozenset((factor, other))]))
                effect = replace(effect, verdict=f"depends on {other}")
                break
        judged.append(effect)
    return judged, sentences


def _effects_on_test(
    metric: Metric,
    used: Sequence["RunRecord"],
    columns: Sequence[Factor],
    names: Sequence[str],
    baselines: Mapping[str, str],
    matched_on: Sequence[str],
    looks: Sequence[int],
) -> list[Effect]:
    """The effects on the test split, for the same runs; never selected on, so never judged by."""
    runs = _measured(used, metric.name)
    if not runs:
        return []
    apart = incomparable(runs, [column for column in columns if column.name in names], baselines, metric)
    table = table_of(runs, columns, metric.name)
    return effects(table, names, metric.direction, baselines, matched_on, looks=looks, not_comparable=apart)
