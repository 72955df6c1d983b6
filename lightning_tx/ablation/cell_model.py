"""The linear model behind a study: one mean per combination of levels, one shift per seed, one pooled variance.

A cell is a full combination of factor levels; a seed is a block that all cells share. The model is
``value = mean(cell) + shift(seed) + noise``, fitted by ordinary least squares, so that missing runs need no special
treatment. With one factor of two levels it is the paired t-test; balanced, it is the randomised-block analysis of
variance.

Source: Montgomery, Design and Analysis of Experiments (randomised blocks, contrasts).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from statsmodels.regression.linear_model import OLS

#: The columns of a study's table besides its factors: the block, and the primary metric.
SEED = "seed"
VALUE = "value"

#: Differences below this part of the largest value are rounding, not spread.
ROUNDING = 1e-12


@dataclass(frozen=True)
class CellModel:
    """A fitted cell + seed model.

    Attributes:
        cells: the combinations of levels, in order of first appearance.
        runs: every (cell index, seed index) that has a run.
        num_seeds: number of different seeds.
        means: the cells' estimates, shape [cells]; only contrasts inside one component mean anything.
        spread: covariance of the coefficients divided by the noise variance, shape [columns, columns], cells first.
        design: the dummy columns, cells first, shape [runs, columns].
        components: number of the component each cell belongs to, shape [cells]; cells that share seeds, directly or
            through other cells, can be compared, others cannot.
        residuals: shape [runs].
        degrees_of_freedom: of the pooled variance; 0 when nothing is replicated.
        variance: the pooled noise variance; None without degrees of freedom.
        rounding: size below which a difference is rounding.
    """

    cells: list[tuple[str, ...]]
    runs: frozenset[tuple[int, int]]
    num_seeds: int
    means: NDArray[np.float64]
    spread: NDArray[np.float64]
    design: NDArray[np.float64]
    components: NDArray[np.int32]
    residuals: NDArray[np.float64]
    degrees_of_freedom: int
    variance: float | None
    rounding: float

    def contrast(self, weights: NDArray[np.float64]) -> tuple[float, float | None]:
        """A weighted sum of cell means, and its standard error (None without degrees of freedom).

        Args:
            weights: shape [cells]; must sum to zero within every component.
        """
        estimate = float(weights @ self.means)
        if abs(estimate) <= self.rounding:
            estimate = 0.0
        if self.variance is None:
            return estimate, None
        spread = self.spread[: len(weights), : len(weights)]
        return estimate, float(np.sqrt(weights @ spread @ weights * self.variance))


def fit(table: pd.DataFrame, columns: Sequence[str]) -> CellModel:
    """Fit the model to a table with one row per run: a column per factor, ``seed``, and ``value`` (finite).

    Args:
        table: at least one row.
        columns: the columns whose combinations are the cells.
    """
    keys = cell_keys(table, columns)
    cells = list(dict.fromkeys(keys))
    positions = {cell: index for index, cell in enumerate(cells)}
    cell = np.array([positions[key] for key in keys])
    seed, seeds = pd.factorize(table[SEED], use_na_sentinel=False)
    components, kept_seeds = _components(cell, seed, len(cells), len(seeds))

    values = table[VALUE].to_numpy(dtype=np.float64)
    # The mean is taken off first: no contrast sees it, and large values lose no digits.
    centred = values - values.mean()
    design = np.hstack([one_hot(cell, len(cells)), one_hot(seed, len(seeds))[:, kept_seeds]])
    result = OLS(centred, design).fit()
    rounding = ROUNDING * float(np.abs(values).max())
    degrees = round(result.df_resid)
    variance = float(result.ssr) / degrees if degrees else None
    if variance is not None and variance <= rounding**2:
        variance = 0.0
    return CellModel(
        cells=cells,
        runs=frozenset(zip(cell.tolist(), seed.tolist(), strict=True)),
        num_seeds=len(seeds),
        means=np.asarray(result.params)[: len(cells)],
        spread=np.asarray(result.normalized_cov_params),
        design=design,
        components=components,
        residuals=np.asarray(result.resid),
        degrees_of_freedom=degrees,
        variance=variance,
        rounding=rounding,
    )


def cell_keys(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The combination of levels of every row."""
    return list(zip(*(table[column].astype(str).tolist() for column in columns), strict=True))


def one_hot(index: NDArray[np.intp], size: int) -> NDArray[np.float64]:
    """Dummy columns, shape [runs, size]."""
    return np.eye(size)[index]


def _components(
    cell: NDArray[np.intp], seed: NDArray[np.intp], num_cells: int, num_seeds: int
) -> tuple[NDArray[np.int32], list[int]]:
    """The component of every cell, and the seeds to give a column: all but the first of each component.

    Without those first seeds the columns are independent, and every contrast inside a component stays what it is.
    """
    size = num_cells + num_seeds
    links = coo_array((np.ones(len(cell)), (cell, num_cells + seed)), shape=(size, size))
    labels = connected_components(links, directed=False)[1]
    seed_labels = labels[num_cells:].tolist()
    kept = [index for index, label in enumerate(seed_labels) if label in seed_labels[:index]]
    return labels[:num_cells], kept
