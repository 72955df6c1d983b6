"""Whether one combination varies far more between seeds than the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lightning_tx.studies.cell_model import fit

#: The remark appears without cause in less than one study of a hundred.
ALPHA = 0.01
#: So many times the others' standard deviation is worth a remark.
LEAST_RATIO = 3.0


@dataclass(frozen=True)
class UnevenSpread:
    """The combination that stands out.

    Attributes:
        cell: its level of every column.
        spread: standard deviation of its noise, the seeds' common shifts taken off.
        others: the same for the other combinations.
    """

    cell: tuple[str, ...]
    spread: float
    others: float


def uneven_spread(table: pd.DataFrame, columns: Sequence[str]) -> UnevenSpread | None:
    """The combination whose runs vary too much, or None; also None where the runs are too few to tell.

    The test counts all other combinations of a seed as one observation, because they are not independent.

    Args:
        table: as for ``statistics.effects``.
        columns: the columns whose combinations are the cells.
    """
    if table.empty or not columns:
        return None
    model = fit(table, columns)
    if len(model.cells) < 3 or model.num_seeds < 3:
        return None
    # Less the median of their seed's runs, which one wild run does not move.
    seeds = [seed for _, seed in model.values]
    values = np.array(list(model.values.values()))
    shifts = pd.Series(values).groupby(seeds).transform("median").to_numpy()
    of_cell: list[list[float]] = [[] for _ in model.cells]
    for (cell, _), value in zip(model.values, values - shifts, strict=True):
        of_cell[cell].append(float(value))
    variances = np.array([np.var(own, ddof=1) if len(own) > 2 else 0.0 for own in of_cell])
    worst = int(variances.argmax())
    others = float(np.mean(np.delete(variances, worst)))
    if others <= model.rounding**2 or variances[worst] < LEAST_RATIO**2 * others:
        return None
    degrees = len(of_cell[worst]) - 1
    p_value = float(stats.f.sf(variances[worst] / others, degrees, model.num_seeds - 1)) * len(model.cells)
    return UnevenSpread(model.cells[worst], float(variances[worst] ** 0.5), others**0.5) if p_value < ALPHA else None
