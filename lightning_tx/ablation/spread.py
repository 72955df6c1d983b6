"""Whether one combination varies far more between seeds than the others, which the pooled variance assumes not.

Each combination is compared with the model fitted to all the others, by an F-test on what its runs add to the sum of
squares; every combination counts as one comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lightning_tx.ablation.cell_model import fit

#: The remark appears without cause in one study of a hundred.
ALPHA = 0.01


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

    Args:
        table: as for ``statistics.effects``.
        columns: the columns whose combinations are the cells.
    """
    if table.empty or not columns:
        return None
    model = fit(table, columns)
    if not model.variance:
        return None
    total = model.variance * model.degrees_of_freedom
    found: list[tuple[float, UnevenSpread]] = []
    for index, cell in enumerate(model.cells):
        rows = model.design[:, index] == 1
        # Leaving rows out of a least-squares fit lowers its sum of squares by e' (I - H)^-1 e over those rows.
        left = np.eye(int(rows.sum())) - model.design[rows] @ model.spread @ model.design[rows].T
        own = float(model.residuals[rows] @ np.linalg.pinv(left, rtol=1e-9) @ model.residuals[rows])
        own_degrees = int(np.linalg.matrix_rank(left, tol=1e-9))
        degrees = model.degrees_of_freedom - own_degrees
        others = max(total - own, 0.0)
        if own_degrees and degrees and others > model.rounding**2:
            ratio = (own / own_degrees) / (others / degrees)
            p_value = float(stats.f.sf(ratio, own_degrees, degrees))
            found.append((p_value, UnevenSpread(cell, (own / own_degrees) ** 0.5, (others / degrees) ** 0.5)))
    if not found:
        return None
    p_value, worst = min(found, key=lambda entry: entry[0])
    return worst if p_value * len(found) < ALPHA else None
