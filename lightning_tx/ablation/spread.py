"""Whether one combination varies far more between seeds than the others, which the pooled variance assumes not.

Each combination is compared with the variance of a model fitted to all the others, by an F-test that counts every
combination as one comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from lightning_tx.ablation.cell_model import ROUNDING, SEED, VALUE, cell_keys

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
    """The combination whose runs vary too much, or None; looks only at three or more that all ran the same seeds.

    Args:
        table: as for ``statistics.effects``.
        columns: the columns whose combinations are the cells.
    """
    if table.empty or not columns:
        return None
    keys = cell_keys(table, columns)
    cells = list(dict.fromkeys(keys))
    seeds = list(dict.fromkeys(table[SEED]))
    value_of = dict(zip(zip(keys, table[SEED], strict=True), table[VALUE], strict=True))
    if len(cells) < 3 or len(seeds) < 2 or not len(table) == len(value_of) == len(cells) * len(seeds):
        return None
    values = np.array([[value_of[cell, seed] for seed in seeds] for cell in cells], dtype=np.float64)
    ranked = max(range(len(cells)), key=lambda index: _excess(values, index)[0])
    excess, spread, others = _excess(values, ranked)
    degrees = len(seeds) - 1
    if len(cells) * stats.f.sf(excess, degrees, (len(cells) - 2) * degrees) >= ALPHA:
        return None
    return UnevenSpread(cells[ranked], spread, others)


def _excess(values: NDArray[np.float64], index: int) -> tuple[float, float, float]:
    """Variance of one row over that of the others, and both as standard deviations; ``values`` is [cells, seeds]."""
    rest = np.delete(values, index, axis=0)
    shifts = rest.mean(axis=0) - rest.mean()
    noise = rest - rest.mean(axis=1, keepdims=True) - shifts
    degrees = values.shape[1] - 1
    others = float((noise**2).sum()) / ((len(rest) - 1) * degrees)
    own_noise = values[index] - values[index].mean() - shifts
    # The shifts are estimated from the other rows: their error is in the row's noise and taken off again.
    own = float((own_noise**2).sum()) / degrees / (1 + 1 / len(rest))
    if others <= (ROUNDING * np.abs(values).max()) ** 2:
        return 0.0, own**0.5, others**0.5
    return own / others, own**0.5, others**0.5
