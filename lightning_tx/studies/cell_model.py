"""The linear model behind a study: one mean per combination of levels, one shift per seed, errors clustered by seed.

A cell is a full combination of factor levels; a seed is a block that all cells share. The model is
``value = mean(cell) + shift(seed) + error``, fitted by ordinary least squares, so that missing runs need no special
treatment. The errors of one seed are not independent: runs that share a seed and a level share their initialisation and
the order of their data, so that a whole level is lucky or unlucky with a seed. The seed is what is replicated, and the
errors are those of ``clustered``. With one factor of two levels it is the paired t-test; balanced, it is the t-test
over each seed's contrast.

Source: Montgomery, Design and Analysis of Experiments (randomised blocks, contrasts); Hurlbert 1984, Ecological
Monographs 54(2) (runs that share a seed are no replicates).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lightning_tx.studies.clustered import ClusteredFit, Contrast

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
        values: the value of each (cell index, seed index) that has a run.
        num_seeds: number of different seeds.
        components: number of the component each cell belongs to, shape [cells]; cells that share seeds, directly or
            through other cells, can be compared, others cannot.
        rounding: size below which a difference is rounding.
    """

    cells: list[tuple[str, ...]]
    values: dict[tuple[int, int], float]
    num_seeds: int
    components: NDArray[np.int32]
    rounding: float
    _fit: ClusteredFit

    def contrast(self, weights: NDArray[np.float64]) -> Contrast:
        """A weighted sum of cell means.

        Args:
            weights: shape [cells]; must sum to zero within every component.
        """
        padded = np.zeros(len(self._fit.coefficients))
        padded[: len(weights)] = weights
        estimate, error, degrees = self._fit.contrast(padded)
        scale = self.rounding * float(np.abs(weights).sum())
        if abs(estimate) <= scale:
            estimate = 0.0
        if error is not None and error <= scale:
            error = 0.0
        return Contrast(estimate, error, degrees)

    @cached_property
    def seeds_of(self) -> list[set[int]]:
        """The seeds with which each cell ran."""
        found: list[set[int]] = [set() for _ in self.cells]
        for cell, seed in self.values:
            found[cell].add(seed)
        return found

    @cached_property
    def mean_of(self) -> NDArray[np.float64]:
        """The plain mean of each cell's values, shape [cells]."""
        means = [np.mean([self.values[cell, seed] for seed in seeds]) for cell, seeds in enumerate(self.seeds_of)]
        return np.array(means, dtype=np.float64)

    def noise(self, cells: Sequence[int]) -> float | None:
        """The standard deviation over seeds within a combination, pooled; None where none of them has two seeds."""
        squares, degrees = 0.0, 0
        for cell in cells:
            values = [self.values[cell, seed] for seed in self.seeds_of[cell]]
            squares += float(np.var(values)) * len(values)
            degrees += len(values) - 1
        return (squares / degrees) ** 0.5 if degrees else None


def fit(table: pd.DataFrame, columns: Sequence[str]) -> CellModel:
    """Fit the model to a table with one row per run: a column per factor, ``seed``, and ``value`` (finite).

    Args:
        table: at least one row, at most one for a cell and a seed.
        columns: the columns whose combinations are the cells.
    """
    keys = cell_keys(table, columns)
    cells = list(dict.fromkeys(keys))
    positions = {cell: index for index, cell in enumerate(cells)}
    cell = np.array([positions[key] for key in keys])
    seed, seeds = pd.factorize(table[SEED], use_na_sentinel=False)
    components, kept_seeds = _components(cell, seed, len(cells), len(seeds))
    values = table[VALUE].to_numpy(dtype=np.float64)
    design = np.hstack([one_hot(cell, len(cells)), one_hot(seed, len(seeds))[:, kept_seeds]])
    return CellModel(
        cells=cells,
        values=dict(zip(zip(cell.tolist(), seed.tolist(), strict=True), values.tolist(), strict=True)),
        num_seeds=len(seeds),
        components=components,
        rounding=ROUNDING * float(np.abs(values).max()),
        _fit=ClusteredFit(design, centred(values, seed), seed),
    )


def centred(values: NDArray[np.float64], seed: NDArray[np.intp]) -> NDArray[np.float64]:
    """The values less the mean of their seed: no contrast sees it, and large values lose no digits."""
    return values - (np.bincount(seed, values) / np.bincount(seed))[seed]


def cell_keys(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The combination of levels of every row."""
    return list(zip(*(table[column].astype(str).tolist() for column in columns), strict=True))


def one_hot(index: Sequence[int] | NDArray[np.intp], size: int) -> NDArray[np.float64]:
    """Dummy columns, shape [runs, size]."""
    return np.eye(size, dtype=np.float64)[np.asarray(index)]


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
