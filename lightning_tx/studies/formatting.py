"""Numbers as a reader wants them: as many digits as are known, no more."""

import math
from collections.abc import Iterable

#: Beyond this many decimals a number is written with an exponent.
MOST_DECIMALS = 6


def decimals_for(margins: Iterable[float | None], values: Iterable[float] = ()) -> int:
    """Decimals that show the smallest margin with two digits, or one from 5 on, so that the uncertainty decides.

    Args:
        margins: half widths of intervals, or standard deviations; zeros and None do not count.
        values: what is to be shown; decides, with four digits, where there is no margin.
    """
    known = [margin for margin in margins if margin]
    if known:
        # From 0.0050 on, one digit says it: 0.0096 is 0.010.
        return _decimals(2 * min(known), 2)
    shown = [abs(value) for value in values if value]
    return _decimals(max(shown), 4) if shown else 0


def _decimals(size: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(size)))


def number(value: float | None, decimals: int, signed: bool = False) -> str:
    """A number with fixed decimals; empty for None, never ``-0.0``."""
    if value is None:
        return ""
    sign = "+" if signed else ""
    if decimals > MOST_DECIMALS:
        return f"{value:{sign}.2e}" if value else "0"
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{sign if rounded else ''}.{decimals}f}"


def amount(value: float | None) -> str:
    """A large count with three digits: ``3.21 M``, ``19.4 k``, ``812``; empty for None."""
    if value is None:
        return ""
    for size, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{_decimals(abs(scaled) * 1.0005, 3)}f}{unit}"
    return f"{value:.3g}" if abs(value) < 99.95 else f"{value:.0f}"


def percent(value: float, reference: float) -> str:
    """How far a value lies from a reference: ``-6.1 %``."""
    change = 100 * (value / reference - 1)
    return f"{change:+.{0 if abs(change) >= 10 else 1}f} %"


def probability(p_value: float) -> str:
    """``p = 0.03`` or ``p < 0.001``."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def listed(words: Iterable[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *head, tail = list(words)
    return f"{', '.join(head)} {last} {tail}" if head else tail
