"""What each factor of a study does: effects with intervals, verdicts and how many seeds are still needed.

The effect of a level against its factor's baseline is the difference of cell means, averaged over the combinations of
the other factors in which both were run. Its standard error comes from the variance pooled over all combinations
(``cell_model``). Intervals are each on their own; verdicts hold for all effects of the study together, because with
ten comparisons at 5 % one false alarm is to be expected.

Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from lightning_tx.ablation.cell_model import CellModel, fit
from lightning_tx.core.errors import ConfigError, choices

Direction = Literal["min", "max"]

#: Share of studies without any effect that may show one, and the confidence intervals' complement.
ALPHA = 0.05
#: Chance to find a difference of the size that was seen, for the number of seeds still needed.
POWER = 0.8
#: More seeds than this are not estimated; ``more_seeds`` is then this number plus one.
MOST_MORE_SEEDS = 100

BETTER = "better"
WORSE = "worse"
INCONCLUSIVE = "inconclusive"
ONE_SEED = "inconclusive: one seed"
NO_SHARED_SEED = "inconclusive: no seed in common"
NOT_MATCHED = "inconclusive: never finished beside its baseline"
IDENTICAL = "inconclusive: identical values"


@dataclass(frozen=True)
class Effect:
    """What one level of a factor changes in the primary metric against the factor's baseline.

    Attributes:
        factor: name of the factor, e.g. ``positions``.
        level: the level judged, e.g. ``rope``.
        baseline: the level it is compared with.
        estimate: value with the level minus value with the baseline; None where they were never run side by side.
        low: lower end of the effect's own 95 % interval; None where there is none.
        high: its upper end.
        p_value: of this comparison alone, two-sided.
        p_corrected: after Holm's correction over all effects of the study; the verdict goes by it.
        verdict: ``better``, ``worse``, or ``inconclusive`` with its reason if that is not the spread.
        num_pairs: pairs of runs that differ in this factor only and share the seed.
        more_seeds: about how many more seeds of every combination an inconclusive effect of this size needs to be
            found with 80 % power; ``MOST_MORE_SEEDS`` + 1 for any larger number; None where it cannot be told.
    """

    factor: str
    level: str
    baseline: str
    estimate: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_corrected: float | None
    verdict: str
    num_pairs: int
    more_seeds: int | None

    @property
    def settled(self) -> bool:
        """Whether the verdict is better or worse."""
        return self.verdict in (BETTER, WORSE)


def effects(
    table: pd.DataFrame,
    factors: Sequence[str],
    direction: Direction,
    baselines: Mapping[str, str] | None = None,
    matched_on: Sequence[str] = (),
) -> list[Effect]:
    """Judge every level of every factor against the factor's baseline.

    Args:
        table: one row per finished run: a column per factor and ``matched_on`` column, ``seed``, ``value`` (finite).
        factors: the columns to judge.
        direction: whether a small (``min``) or a large (``max``) value is good.
        baselines: the baseline level of factors; the first level of the table for those left out.
        matched_on: columns that must be equal in a comparison and are not judged themselves.

    Raises:
        ConfigError: the direction is neither.
    """
    check_direction(direction)
    columns = [*factors, *matched_on]
    if table.empty or not columns:
        return []
    model = fit(table, columns)
    found = []
    for column, factor in enumerate(factors):
        levels = list(dict.fromkeys(table[factor].astype(str)))
        baseline = levels[0] if baselines is None or factor not in baselines else baselines[factor]
        found += [_effect(model, column, factor, level, baseline) for level in levels if level != baseline]
    return _judge(found, model, direction)


def check_direction(direction: str) -> None:
    """Refuse a direction that is neither ``min`` nor ``max``.

    Raises:
        ConfigError: the message lists the choices.
    """
    if direction not in get_args(Direction):
        raise ConfigError(f"direction: {direction!r} is not a direction. Choices: {choices(get_args(Direction))}.")


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in the same order: the chance of any false alarm among them is kept."""
    # statsmodels has it too, with a full garbage collection in each call that costs more than the whole study.
    ordered = np.argsort(p_values)
    steps = np.asarray(p_values)[ordered] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[ordered] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected.tolist()


def _effect(model: CellModel, column: int, factor: str, level: str, baseline: str) -> Effect:
    """The effect without its correction and final verdict, which depend on the study's other effects."""
    blank = Effect(factor, level, baseline, None, None, None, None, None, NOT_MATCHED, 0, None)
    side_by_side = _side_by_side(model, column, level, baseline)
    if not side_by_side:
        return blank
    comparable = [(a, b) for a, b in side_by_side if model.components[a] == model.components[b]]
    if not comparable:
        return replace(blank, verdict=NO_SHARED_SEED)
    weights = np.zeros(len(model.cells))
    for cell, partner in comparable:
        weights[cell] += 1 / len(comparable)
        weights[partner] -= 1 / len(comparable)
    estimate, error = model.contrast(weights)
    num_pairs = sum(
        (cell, seed) in model.runs and (partner, seed) in model.runs
        for cell, partner in comparable
        for seed in range(model.num_seeds)
    )
    if error is None:
        return replace(blank, estimate=estimate, verdict=ONE_SEED, num_pairs=num_pairs)
    margin = float(stats.t.isf(ALPHA / 2, model.degrees_of_freedom)) * error
    return replace(
        blank,
        estimate=estimate,
        low=estimate - margin,
        high=estimate + margin,
        p_value=_p_value(estimate, error, model.degrees_of_freedom),
        verdict=INCONCLUSIVE,
        num_pairs=num_pairs,
    )


def _side_by_side(model: CellModel, column: int, level: str, baseline: str) -> list[tuple[int, int]]:
    """Indices of the cells with the level, each with the cell that differs from it in the baseline only."""
    index = {cell: number for number, cell in enumerate(model.cells)}
    partners = {
        number: index.get((*cell[:column], baseline, *cell[column + 1 :]))
        for cell, number in index.items()
        if cell[column] == level
    }
    return [(number, partner) for number, partner in partners.items() if partner is not None]


def _p_value(estimate: float, error: float, degrees_of_freedom: int) -> float:
    if error == 0:
        return 1.0 if estimate == 0 else 0.0
    return float(2 * stats.t.sf(abs(estimate) / error, degrees_of_freedom))


def _judge(found: list[Effect], model: CellModel, direction: Direction) -> list[Effect]:
    """Correct the p-values over all effects that have one, and put the verdicts into words."""
    p_values = [effect.p_value for effect in found if effect.p_value is not None]
    if not p_values:
        return found
    corrected = iter(holm(p_values))
    found = [replace(effect, p_corrected=next(corrected)) if effect.p_value is not None else effect for effect in found]
    judged = [_with_verdict(effect, direction) for effect in found]
    # What is settled no longer counts among the comparisons: Holm's next threshold is shared by the rest.
    num_open = sum(effect.verdict == INCONCLUSIVE for effect in judged)
    return [
        replace(effect, more_seeds=_more_seeds(effect, model, ALPHA / num_open))
        if effect.verdict == INCONCLUSIVE
        else effect
        for effect in judged
    ]


def _with_verdict(effect: Effect, direction: Direction) -> Effect:
    if effect.p_corrected is None or effect.estimate is None:
        return effect
    if effect.p_corrected < ALPHA:
        return replace(effect, verdict=BETTER if (effect.estimate < 0) == (direction == "min") else WORSE)
    if effect.low == effect.high:
        return replace(effect, verdict=IDENTICAL)
    return effect


def _more_seeds(effect: Effect, model: CellModel, alpha: float) -> int:
    """Seeds to add to every combination until an effect of this size is found with the wanted power."""
    if not effect.estimate or effect.low is None:
        return MOST_MORE_SEEDS + 1
    margin_in_errors = stats.t.isf(ALPHA / 2, model.degrees_of_freedom)
    ratio = abs(effect.estimate) / ((effect.estimate - effect.low) / margin_in_errors)
    num_seeds = model.num_seeds + np.arange(1, MOST_MORE_SEEDS + 1)
    degrees = (len(model.cells) - 1) * (num_seeds - 1)
    shift = ratio * np.sqrt(num_seeds / model.num_seeds)
    power = stats.nct.sf(stats.t.isf(alpha / 2, degrees), degrees, shift)
    enough = np.flatnonzero(power >= POWER)
    return int(enough[0]) + 1 if len(enough) else MOST_MORE_SEEDS + 1
