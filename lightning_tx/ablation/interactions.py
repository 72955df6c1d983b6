"""Whether the effect of one factor depends on another: the cell model against one without their interplay.

Source: Montgomery, Design and Analysis of Experiments (factorial designs, extra sum of squares).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from lightning_tx.ablation.cell_model import SEED, VALUE, cell_keys, fit, one_hot
from lightning_tx.ablation.statistics import holm


@dataclass(frozen=True)
class Interaction:
    """How surely the effects of two factors depend on each other.

    Attributes:
        factors: the names of the two.
        p_value: of the F-test, after Holm's correction over all pairs of the study.
    """

    factors: tuple[str, str]
    p_value: float


def interactions(table: pd.DataFrame, factors: Sequence[str], matched_on: Sequence[str] = ()) -> list[Interaction]:
    """Test every pair of factors; pairs that the runs cannot tell apart are left out.

    Args:
        table: as for ``statistics.effects``.
        factors: the factors to pair.
        matched_on: further columns that make up a cell.

    Returns:
        One entry per testable pair; none without replication.
    """
    columns = [*factors, *matched_on]
    if table.empty or len(factors) < 2:
        return []
    model = fit(table, columns)
    if model.variance is None:
        return []
    additive = [_dummies(table, [column]) for column in [*columns, SEED]]
    values = table[VALUE].to_numpy(dtype=np.float64)
    rest, rank = _rest(values, additive)
    tested = []
    for pair in combinations(factors, 2):
        rest_with, rank_with = _rest(values, [*additive, _dummies(table, pair)])
        degrees = rank_with - rank
        if degrees:
            gain = max(rest - rest_with, 0.0) / degrees
            tested.append((pair, _p_value(gain, degrees, model.variance, model.degrees_of_freedom, model.rounding)))
    corrected = holm([p_value for _, p_value in tested])
    return [Interaction(pair, p_value) for (pair, _), p_value in zip(tested, corrected, strict=True)]


def _dummies(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    codes, levels = pd.factorize(pd.Series(cell_keys(table, columns)))
    return one_hot(codes, len(levels))


def _rest(values: NDArray[np.float64], blocks: list[NDArray[np.float64]]) -> tuple[float, int]:
    """The sum of squares that dummy columns leave, and their rank."""
    design = np.hstack(blocks)
    centred = values - values.mean()
    coefficients, _, rank, _ = np.linalg.lstsq(design, centred)
    residuals = centred - design @ coefficients
    return float(residuals @ residuals), int(rank)


def _p_value(gain: float, degrees: int, variance: float, rest_degrees: int, rounding: float) -> float:
    if variance == 0:
        return 0.0 if gain > rounding**2 else 1.0
    return float(stats.f.sf(gain / variance, degrees, rest_degrees))
