"""What each factor of a study does: effects with intervals and verdicts.

The effect of a level against its factor's baseline is the difference of cell means, averaged over the combinations of
the other factors in which both were run. Its standard error is clustered by seed (``cell_model``). Intervals are each
on their own; verdicts hold for all effects of the study together (Holm), because with ten comparisons at 5 % one false
alarm is to be expected, and for all looks at it (``looks``). With a margin, an effect that two one-sided tests hold
inside it is equivalent; these, too, are corrected for their number.

Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure; Schuirmann 1987, Journal of Pharmacokinetics
and Biopharmaceutics 15(6) (two one-sided tests).
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.core.margin import Margin
from lightning_tx.core.measure import Direction
from lightning_tx.studies.cell_model import CellModel, fit
from lightning_tx.studies.looks import Look, look_at
from lightning_tx.studies.power import detectable, seeds_needed

BETTER = "better"
WORSE = "worse"
EQUIVALENT = "equivalent"
INCONCLUSIVE = "inconclusive"
ONE_SEED = "inconclusive: one seed"
NO_SHARED_SEED = "inconclusive: no seed in common"
NOT_MATCHED = "inconclusive: never finished beside its baseline"
NO_SPREAD = "inconclusive: no spread over seeds"
IDENTICAL = "identical values"
NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Effect:
    """What one level of a factor changes in the primary metric against the factor's baseline.

    Attributes:
        factor: name of the factor, e.g. ``positions``.
        level: the level judged, e.g. ``rope``.
        baseline: the level it is compared with.
        verdict: ``better``, ``worse``, ``equivalent``, ``identical values``, ``not comparable`` or ``inconclusive``
            with its reason if that is not the spread; a report adds what divergence and interactions make of it.
        estimate: value with the level minus value with the baseline; None where they were never run side by side.
        low: lower end of the effect's own interval; None where there is none.
        high: its upper end.
        error: its standard error over seeds.
        degrees: Satterthwaite's degrees of freedom of the error.
        p_value: of this comparison alone, two-sided.
        p_corrected: after Holm's correction over all effects of the study; the verdict goes by it.
        margin: the difference that matters, in the metric's unit; None where none was stated.
        p_equivalent: of the two one-sided tests against the margin, after Holm's correction over all effects.
        noise: standard deviation over seeds within a combination, pooled over those compared.
        num_pairs: pairs of runs that differ in this factor only and share the seed.
        num_seeds: seeds that have such pairs.
        num_agreeing: seeds whose own difference has the sign of the estimate.
        detectable: the smallest effect that this many seeds find in 80 % of studies.
        seeds_needed: seeds in all with which a difference of the margin is found in 80 % of studies.
        contexts: for every other column the levels beside which the two were compared.
    """

    factor: str
    level: str
    baseline: str
    verdict: str = NOT_MATCHED
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    error: float | None = None
    degrees: float | None = None
    p_value: float | None = None
    p_corrected: float | None = None
    margin: float | None = None
    p_equivalent: float | None = None
    noise: float | None = None
    num_pairs: int = 0
    num_seeds: int = 0
    num_agreeing: int = 0
    detectable: float | None = None
    seeds_needed: int | None = None
    contexts: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval; None without one that has an end."""
        if self.low is None or self.high is None or not math.isfinite(self.low):
            return None
        return self.low, self.high

    @property
    def settled(self) -> bool:
        """Whether the verdict is better, worse or equivalent."""
        return self.verdict in (BETTER, WORSE, EQUIVALENT)


def effects(
    table: pd.DataFrame,
    factors: Sequence[str],
    direction: Direction,
    baselines: Mapping[str, str] | None = None,
    matched_on: Sequence[str] = (),
    *,
    margin: Margin | None = None,
    looks: Sequence[int] = (),
    not_comparable: Collection[tuple[str, str]] = (),
) -> list[Effect]:
    """Judge every level of every factor against the factor's baseline.

    Args:
        table: one row per finished run: a column per factor and ``matched_on`` column, ``seed``, ``value`` (finite).
        factors: the columns to judge.
        direction: whether a small (``min``) or a large (``max``) value is good.
        baselines: the baseline level of factors; the first level of the table for those left out.
        matched_on: columns that must be equal in a comparison and are not judged themselves.
        margin: the difference that matters.
        looks: how many seeds earlier looks at the study saw; the table is one more look if it has more seeds.
        not_comparable: (factor, level) pairs whose values mean something else than the baseline's.

    Raises:
        ConfigError: the direction is neither.
    """
    check_direction(direction)
    columns = [*factors, *matched_on]
    if table.empty or not columns:
        return []
    model = fit(table, columns)
    judged = []
    for column, factor in enumerate(factors):
        levels = list(dict.fromkeys(table[factor].astype(str)))
        baseline = levels[0] if baselines is None or factor not in baselines else baselines[factor]
        for level in levels:
            if level == baseline:
                continue
            if (factor, level) in not_comparable:
                judged.append(Effect(factor, level, baseline, NOT_COMPARABLE))
            else:
                judged.append(_effect(model, columns, column, level, baseline, margin))
    return _judge(judged, direction, looks, model.num_seeds)


def check_direction(direction: str) -> None:
    """Refuse a direction that is neither ``min`` nor ``max``.

    Raises:
        ConfigError: the message lists the choices.
    """
    if direction not in get_args(Direction):
        raise ConfigError(f"direction: {direction!r} is not a direction. Choices: {choices(get_args(Direction))}.")


def current_look(looks: Sequence[int], num_seeds: int) -> Look:
    """The look at so many seeds, after those recorded: a new one only where it sees more seeds than they did."""
    return look_at([*looks, num_seeds] if num_seeds > max(looks, default=0) else looks)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in the same order: the chance of any false alarm among them is kept."""
    # statsmodels has it too, with a full garbage collection in each call that costs more than the whole study.
    ordered = np.argsort(p_values)
    steps = np.asarray(p_values)[ordered] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[ordered] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected.tolist()


def paired(model: CellModel, column: int, level: str, baseline: str) -> list[tuple[int, int]]:
    """Indices of the cells with the level, each with the cell that differs from it in the baseline only."""
    index = {cell: number for number, cell in enumerate(model.cells)}
    partners = {
        number: index.get((*cell[:column], baseline, *cell[column + 1 :]))
        for cell, number in index.items()
        if cell[column] == level
    }
    return [(number, partner) for number, partner in partners.items() if partner is not None]


def weights_of(model: CellModel, pairs: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """The contrast that averages the differences of pairs of cells, shape [cells]."""
    weights = np.zeros(len(model.cells))
    for cell, partner in pairs:
        weights[cell] += 1 / len(pairs)
        weights[partner] -= 1 / len(pairs)
    return weights


def _effect(
    model: CellModel, columns: Sequence[str], column: int, level: str, baseline: str, margin: Margin | None
) -> Effect:
    """The effect without corrections and final verdict, which depend on the study's other effects."""
    blank = Effect(columns[column], level, baseline)
    side_by_side = paired(model, column, level, baseline)
    if not side_by_side:
        return blank
    pairs = [(a, b) for a, b in side_by_side if model.components[a] == model.components[b]]
    if not pairs:
        return replace(blank, verdict=NO_SHARED_SEED)
    estimate, error, degrees = model.contrast(weights_of(model, pairs))
    differences = _differences(model, pairs)
    own = [sum(values) / len(values) for values in differences.values()]
    compared = sorted({cell for pair in pairs for cell in pair})
    effect = replace(
        blank,
        verdict=ONE_SEED if error is None else INCONCLUSIVE,
        estimate=estimate,
        num_pairs=sum(map(len, differences.values())),
        num_seeds=len(differences),
        num_agreeing=sum(value * estimate > 0 for value in own),
        noise=model.noise(compared),
        margin=margin.size(float(np.mean(model.mean_of[[partner for _, partner in pairs]]))) if margin else None,
        contexts=tuple(
            (name, tuple(dict.fromkeys(model.cells[cell][place] for cell, _ in pairs)))
            for place, name in enumerate(columns)
            if place != column
        ),
    )
    if differences and not any(value for values in differences.values() for value in values):
        return replace(effect, verdict=IDENTICAL)
    if error is None:
        return effect
    if error == 0:
        # Without spread there is no t-test. By symmetry alone, n differences of one sign have this chance.
        return replace(effect, verdict=NO_SPREAD, p_value=0.5 ** (len(differences) - 1) if estimate else 1.0)
    p_value = float(2 * stats.t.sf(abs(estimate) / error, degrees))
    return replace(effect, error=error, degrees=degrees, p_value=p_value)


def _differences(model: CellModel, pairs: Sequence[tuple[int, int]]) -> dict[int, list[float]]:
    """By seed, the differences of the pairs of runs that share it."""
    found: dict[int, list[float]] = {}
    for cell, partner in pairs:
        for seed in model.seeds_of[cell] & model.seeds_of[partner]:
            difference = model.values[cell, seed] - model.values[partner, seed]
            found.setdefault(seed, []).append(0.0 if abs(difference) <= model.rounding else difference)
    return found


def _judge(found: list[Effect], direction: Direction, looks: Sequence[int], num_seeds: int) -> list[Effect]:
    """Correct over all effects that were tested, draw the intervals, and put the verdicts into words."""
    look = current_look(looks, num_seeds)
    found = _corrected(found)
    judged = [_with_verdict(_with_interval(effect, look.interval), direction, look.verdict) for effect in found]
    # What is settled no longer counts among the comparisons: Holm's next threshold is shared by the rest.
    num_open = sum(effect.verdict == INCONCLUSIVE for effect in judged)

    def level_at(total: int) -> float:
        return current_look([*looks, num_seeds], total).verdict / max(1, num_open)

    return [_with_outlook(effect, look.verdict / max(1, num_open), level_at) for effect in judged]


def _corrected(found: list[Effect]) -> list[Effect]:
    tested = [number for number, effect in enumerate(found) if effect.p_value is not None]
    against = [number for number in tested if found[number].margin is not None and found[number].error is not None]
    result = list(found)
    for number, corrected in zip(tested, holm([found[number].p_value or 0.0 for number in tested]), strict=True):
        result[number] = replace(result[number], p_corrected=corrected)
    for number, corrected in zip(against, holm([_tost(found[number]) for number in against]), strict=True):
        result[number] = replace(result[number], p_equivalent=corrected)
    return result


def _tost(effect: Effect) -> float:
    """The larger p-value of the two one-sided tests that the effect lies inside the margin."""
    assert effect.estimate is not None and effect.error and effect.degrees and effect.margin is not None
    return float(stats.t.sf((effect.margin - abs(effect.estimate)) / effect.error, effect.degrees))


def _with_interval(effect: Effect, alpha: float) -> Effect:
    if effect.estimate is None or effect.error is None or effect.degrees is None:
        return effect
    if alpha == 0:
        return replace(effect, low=-np.inf, high=np.inf)
    half = float(stats.t.isf(alpha / 2, effect.degrees)) * effect.error
    return replace(effect, low=effect.estimate - half, high=effect.estimate + half)


def _with_verdict(effect: Effect, direction: Direction, level: float) -> Effect:
    if effect.p_corrected is None or effect.estimate is None:
        return effect
    if effect.p_equivalent is not None and effect.p_equivalent < level:
        return replace(effect, verdict=EQUIVALENT)
    if effect.p_corrected < level:
        return replace(effect, verdict=BETTER if (effect.estimate < 0) == (direction == "min") else WORSE)
    return effect


def _with_outlook(effect: Effect, level: float, level_at: Callable[[int], float]) -> Effect:
    """With what the study can find: at its number of seeds, and for its margin."""
    if effect.error is None or effect.degrees is None:
        return effect
    needed = None
    if effect.margin is not None and effect.verdict == INCONCLUSIVE:
        needed = seeds_needed(effect.margin, effect.error, effect.degrees, effect.num_seeds, level_at)
    return replace(effect, detectable=detectable(effect.error, effect.degrees, level), seeds_needed=needed)
