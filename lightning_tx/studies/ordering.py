"""Levels in their order: best first over what all of them share, and the trend of a factor whose levels are numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lightning_tx.core.measure import Direction
from lightning_tx.studies.cell_model import CellModel, fit
from lightning_tx.studies.looks import Look
from lightning_tx.studies.statistics import holm, paired, weights_of


@dataclass(frozen=True)
class Ranking:
    """The levels of a factor over the combinations in which every one of them was run.

    Attributes:
        factor: its name.
        effects: difference from the baseline by level, best first; the baseline has 0. Empty where nothing is shared.
        contexts: levels of the other columns that are shared, by column.
    """

    factor: str
    effects: Mapping[str, float]
    contexts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Trend:
    """How a metric moves along a factor whose levels are numbers.

    Attributes:
        factor: its name.
        per: what the slope is given for: ``doubling`` where levels are all above 0, else ``unit``.
        slope: change of the metric.
        low: lower end of its interval.
        high: its upper end.
    """

    factor: str
    per: str
    slope: float
    low: float
    high: float


def rankings(
    table: pd.DataFrame,
    factors: Sequence[str],
    direction: Direction,
    baselines: Mapping[str, str],
    matched_on: Sequence[str] = (),
) -> list[Ranking]:
    """The factors of three levels and more that were not all run beside the same choices, ranked where they were.

    Args:
        table: as for ``statistics.effects``.
        factors: the factors to rank.
        direction: whether small (``min``) or large (``max``) values are good.
        baselines: baseline level by factor.
        matched_on: further columns that make up a cell.
    """
    if table.empty or not factors:
        return []
    columns = [*factors, *matched_on]
    model = fit(table, columns)
    ranked = []
    for column, factor in enumerate(factors):
        baseline, around = baselines[factor], _contexts(model, column)
        levels = [level for level in around if level != baseline]
        if len(levels) < 2 or baseline not in around or all(around[level] == around[baseline] for level in levels):
            continue
        shared = set.intersection(*map(set, around.values()))
        estimates = {}
        for level in levels:
            pairs = [
                (cell, partner)
                for cell, partner in paired(model, column, level, baseline)
                if _rest(model.cells[cell], column) in shared and model.components[cell] == model.components[partner]
            ]
            if len(pairs) == len(shared) > 0:
                estimates[level] = model.contrast(weights_of(model, pairs)).estimate
        if len(estimates) < len(levels):
            ranked.append(Ranking(factor, {}, {}))
            continue
        effects = {baseline: 0.0, **estimates}
        best_first = sorted(effects, key=lambda level: effects[level], reverse=direction == "max")
        others = [name for name in columns if name != factor]
        contexts = {
            name: tuple(dict.fromkeys(rest[place] for rest in around[baseline] if rest in shared))
            for place, name in enumerate(others)
        }
        ranked.append(Ranking(factor, {level: effects[level] for level in best_first}, contexts))
    return ranked


def trends(table: pd.DataFrame, factors: Sequence[str], look: Look, matched_on: Sequence[str] = ()) -> list[Trend]:
    """The least-squares slope of every factor whose levels are three or more numbers, over the shared combinations.

    Args:
        table: as for ``statistics.effects``.
        factors: the factors to look at.
        look: whose level the intervals have.
        matched_on: further columns that make up a cell.
    """
    if table.empty or not factors:
        return []
    model = fit(table, [*factors, *matched_on])
    found = []
    for column, factor in enumerate(factors):
        around = _contexts(model, column)
        sizes = {level: number for level in around if (number := _number(level)) is not None}
        if len(sizes) < 3 or len(sizes) < len(around):
            continue
        per = "doubling" if min(sizes.values()) > 0 else "unit"
        places = {level: math.log2(size) if per == "doubling" else size for level, size in sizes.items()}
        mean = sum(places.values()) / len(places)
        total = sum((place - mean) ** 2 for place in places.values())
        shared = set.intersection(*map(set, around.values()))
        cells = [number for number, cell in enumerate(model.cells) if _rest(cell, column) in shared]
        if not shared or len(set(model.components[cells].tolist())) > 1:
            continue
        weights = np.zeros(len(model.cells))
        for cell in cells:
            weights[cell] = (places[model.cells[cell][column]] - mean) / total / len(shared)
        slope, error, degrees = model.contrast(weights)
        if error:
            half = float(stats.t.isf(look.interval / 2, degrees)) * error if look.interval else math.inf
            found.append(Trend(factor, per, slope, slope - half, slope + half))
    return found


def not_told_apart(model: CellModel, direction: Direction, level: float) -> set[int]:
    """The cells whose difference from the best one is not settled, the best included; all of them without errors.

    Args:
        model: the fitted study.
        direction: whether small (``min``) or large (``max``) values are good.
        level: of all comparisons together.
    """
    sign = 1.0 if direction == "min" else -1.0
    best = int(np.argmin(sign * model.mean_of))
    p_values: dict[int, float] = {}
    for cell in range(len(model.cells)):
        if cell == best or model.components[cell] != model.components[best]:
            continue
        estimate, error, degrees = model.contrast(weights_of(model, [(cell, best)]))
        p_values[cell] = float(2 * stats.t.sf(abs(estimate) / error, degrees)) if error else 1.0
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return {cell for cell in range(len(model.cells)) if corrected.get(cell, 1.0) >= level}


def _contexts(model: CellModel, column: int) -> dict[str, list[tuple[str, ...]]]:
    """For every level of a column the levels of the other columns beside which it was run."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for cell in model.cells:
        found.setdefault(cell[column], []).append(_rest(cell, column))
    return {level: sorted(around) for level, around in found.items()}


def _rest(cell: tuple[str, ...], column: int) -> tuple[str, ...]:
    return (*cell[:column], *cell[column + 1 :])


def _number(level: str) -> float | None:
    try:
        number = float(level)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
