"""What a study can find: the smallest effect at its number of seeds, and the seeds that a margin needs.

Both come from the noise, never from the effect that was observed: who plans by an observed effect plans for luck.

Source: Hoenig and Heisey 2001, The American Statistician 55(1) (against power at the observed effect); Browne 1995,
Statistics in Medicine 14(17) (a pilot's standard deviation is too small more often than not).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

#: Share of studies in which an effect is to be found.
POWER = 0.8
#: More seeds than this are not worth a number.
MOST_SEEDS = 200


def detectable(error: float, degrees: float, level: float) -> float | None:
    """The smallest effect found with 80 % power by a two-sided t-test; None where no level is left to test at.

    Args:
        error: the standard error.
        degrees: its degrees of freedom.
        level: of the test.
    """
    return error * _shift(degrees, level) if level > 0 else None


@lru_cache(maxsize=4096)
def _shift(degrees: float, level: float) -> float:
    """The true effect in standard errors that is found with 80 % power."""
    critical = float(stats.t.isf(level / 2, degrees))

    def missing(shift: float) -> float:
        return _found(critical, degrees, shift) - POWER

    return optimize.root_scalar(missing, bracket=(0.0, 3 * critical + 5)).root


def seeds_needed(margin: float, error: float, degrees: float, num_seeds: int, level_at: Callable[[int], float]) -> int:
    """Seeds in all at which a difference of the margin is found with 80 % power; at most ``MOST_SEEDS`` + 1.

    The standard deviation of a few seeds is too small more often than not; it is corrected to be so half of the time.

    Args:
        margin: the difference that matters.
        error: standard error of the effect at hand.
        degrees: its degrees of freedom.
        num_seeds: seeds it comes from.
        level_at: the level of the two-sided test at so many seeds.
    """
    noise = error * np.sqrt(num_seeds * degrees / stats.chi2.ppf(0.5, degrees))

    def power(total: int) -> float:
        then = degrees * (total - 1) / (num_seeds - 1)
        critical = float(stats.t.isf(level_at(total) / 2, then))
        return _found(critical, then, margin / noise * np.sqrt(total))

    few, many = num_seeds, MOST_SEEDS + 1
    if power(few) >= POWER:
        return few
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if power(middle) >= POWER else (middle, many)
    return many


def _found(critical: float, degrees: float, shift: float) -> float:
    """The power of a t-test of a true effect of ``shift`` standard errors; the far tail is left out."""
    # Beyond such shifts nothing is missed, and SciPy's distribution loses its digits.
    return 1.0 if shift > critical + 35 else float(stats.nct.sf(critical, degrees, shift))
