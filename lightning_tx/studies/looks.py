"""What looking at a study more than once costs.

Who looks after every few seeds, and stops when something shows, finds something by chance more often than one study in
twenty. So the chance of a false verdict that may be spent grows with the number of seeds (alpha spending): by ``n``
seeds ``ALPHA (n - 2) / (n - 1)`` of it, nothing at two seeds, half at three, three quarters at five, and never all of
it, so that a study may always grow. Each look is judged at the level that spends what has become free since the look
before it, given that nothing was found then. One look alone keeps most of the level; looks between cost little.

The levels follow from the distribution of successive paired t-statistics under normal errors, computed by simulation
with a fixed seed: it has no closed form, and the normal approximation is far off at the few seeds that studies have.

Source: Lan and DeMets 1983, Biometrika 70(3) (spending functions); Jennison and Turnbull 2000, Group Sequential Methods
(repeated confidence intervals).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

#: Share of studies without any effect that may show one, however often they are looked at.
ALPHA = 0.05

_SIMULATED = 200_000


@dataclass(frozen=True)
class Look:
    """How strictly the newest look at a study is judged.

    Attributes:
        number: which look it is, from 1.
        verdict: the chance of a false verdict that this look may take, over all comparisons together.
        interval: one minus the confidence of its intervals: 5 % at a first look, the verdict's level after it.
    """

    number: int
    verdict: float
    interval: float


def look_at(num_seeds: Sequence[int]) -> Look:
    """The level of the last of several looks.

    Args:
        num_seeds: how many seeds each look saw; one that saw no more than those before it, or fewer than two, is none.
    """
    counted = tuple(sorted({number for number in num_seeds if number > 1}))
    if not counted:
        return Look(1, 0.0, ALPHA)
    level = _levels(counted)[-1]
    return Look(len(counted), level, ALPHA if len(counted) == 1 else level)


def spent_by(num_seeds: int) -> float:
    """What may have been spent once so many seeds were looked at."""
    return ALPHA * (num_seeds - 2) / (num_seeds - 1)


@lru_cache
def _levels(num_seeds: tuple[int, ...]) -> tuple[float, ...]:
    """The level of each look; a single one, and that of a first look, is exact."""
    levels = [spent_by(num_seeds[0])]
    if len(num_seeds) == 1:
        return tuple(levels)
    random = np.random.default_rng(0)
    sums, squares = np.zeros(_SIMULATED), np.zeros(_SIMULATED)
    # Studies without an effect in which nothing has been found so far.
    open_studies = np.ones(_SIMULATED, dtype=bool)
    before = 0
    for number in num_seeds:
        new = number - before
        new_sums = random.normal(0, np.sqrt(new), _SIMULATED)
        sums += new_sums
        squares += new_sums**2 / new + (random.chisquare(new - 1, _SIMULATED) if new > 1 else 0)
        # |t| grows with this ratio, which is cheaper.
        ratios = sums**2 / squares
        if before:
            free = round((spent_by(number) - spent_by(before)) * _SIMULATED)
            still = ratios[open_studies]
            ratio = float(np.partition(still, -free - 1)[-free - 1]) if free else np.inf
            levels.append(_p_value(ratio, number))
        open_studies &= ratios < _ratio(levels[-1], number)
        before = number
    return tuple(levels)


def _p_value(ratio: float, number: int) -> float:
    """Two-sided, of the t-statistic of ``number`` values whose sum, squared, is ``ratio`` times their squares' sum."""
    if ratio >= number:
        return 0.0
    return float(2 * stats.t.sf(np.sqrt((number - 1) * ratio / (number - ratio)), number - 1))


def _ratio(level: float, number: int) -> float:
    critical = float(stats.t.isf(level / 2, number - 1)) ** 2
    return number * critical / (critical + number - 1) if np.isfinite(critical) else float(number)
