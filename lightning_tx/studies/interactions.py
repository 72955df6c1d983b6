"""Whether the effect of one factor depends on another.

Each pair of factors is tested in the model that holds every single factor, every *other* pair and the seeds, so that a
combination that is missing does not pass another pair's interplay off as this one's. Errors are clustered by seed.

Source: Montgomery, Design and Analysis of Experiments (factorial designs); the test is that of ``clustered``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lightning_tx.studies.cell_model import ROUNDING, SEED, VALUE, cell_keys, centred, one_hot
from lightning_tx.studies.clustered import ClusteredFit, Joint
from lightning_tx.studies.statistics import holm

#: Singular values below this share of the largest are zero.
_RANK = 1e-9


@dataclass(frozen=True)
class Interaction:
    """How surely the effects of two factors depend on each other.

    Attributes:
        factors: the names of the two.
        p_value: of the test, after Holm's correction over all pairs of the study.
    """

    factors: tuple[str, str]
    p_value: float


def interactions(table: pd.DataFrame, factors: Sequence[str], matched_on: Sequence[str] = ()) -> list[Interaction]:
    """Test every pair of factors; pairs that the runs cannot tell apart, or with too few seeds, are left out.

    Args:
        table: as for ``statistics.effects``.
        factors: the factors to pair.
        matched_on: further columns that make up a cell.
    """
    columns = [*factors, *matched_on]
    if table.empty or len(factors) < 2:
        return []
    singles = [_dummies(table, [column]) for column in [*columns, SEED]]
    blocks = {pair: _dummies(table, pair) for pair in combinations(columns, 2) if _crossed(table, pair)}
    tested = []
    for pair in combinations(factors, 2):
        if pair not in blocks:
            continue
        others = [block for other, block in blocks.items() if other != pair]
        found = interplay(table, [*singles, *others], blocks[pair])
        if found is not None:
            tested.append((pair, found.p_value))
    corrected = holm([p_value for _, p_value in tested])
    return [Interaction(pair, p_value) for (pair, _), p_value in zip(tested, corrected, strict=True)]


def interplay(table: pd.DataFrame, others: Sequence[NDArray[np.float64]], own: NDArray[np.float64]) -> Joint | None:
    """The joint test of what some dummy columns explain beside others; None where that is nothing, or not testable."""
    rest = _basis(np.hstack(others))
    beyond = _basis(own - rest @ (rest.T @ own), scale=float(np.linalg.norm(own, 2)))
    if not beyond.shape[1]:
        return None
    seed = pd.factorize(table[SEED], use_na_sentinel=False)[0]
    values = table[VALUE].to_numpy(dtype=np.float64)
    fitted = ClusteredFit(np.hstack([rest, beyond]), centred(values, seed), seed)
    if np.abs(fitted.residuals).max() <= ROUNDING * np.abs(values).max():
        return None
    select = np.eye(rest.shape[1] + beyond.shape[1])[rest.shape[1] :]
    return fitted.joint(select)


def _crossed(table: pd.DataFrame, pair: Sequence[str]) -> bool:
    """Whether two columns cross at all: more combinations than single levels explain, as far as counting tells."""
    combined, singles = set(cell_keys(table, pair)), [set(table[column].astype(str)) for column in pair]
    return len(combined) > sum(map(len, singles)) - 1


def _dummies(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    codes, levels = pd.factorize(pd.Series(cell_keys(table, columns)))
    return one_hot(codes, len(levels))


def _basis(columns: NDArray[np.float64], scale: float | None = None) -> NDArray[np.float64]:
    """Orthonormal columns that span the same space; sizes are judged against ``scale``, else the largest."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, sizes > _RANK * (sizes[0] if scale is None else scale)]
