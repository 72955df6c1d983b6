"""Covering arrays: few rows in which every pair of choices meets."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations, product

#: A factor and one of its levels.
Choice = tuple[str, str]
Pair = frozenset[Choice]


def pairs_of(row: Mapping[str, str]) -> set[Pair]:
    """The pairs of choices that meet in a row."""
    return {frozenset(pair) for pair in combinations(row.items(), 2)}


def all_pairs(factors: Mapping[str, Sequence[str]]) -> list[Pair]:
    """Every pair of levels of two factors, in the order of the factors."""
    return [
        frozenset(((first, a), (second, b)))
        for first, second in combinations(factors, 2)
        for a, b in product(factors[first], factors[second])
    ]


def covering_array(
    factors: Mapping[str, Sequence[str]],
    *,
    excluded: Collection[Pair] = (),
    valid: Callable[[Mapping[str, str]], bool] = lambda row: True,
    fallback: Callable[[Pair], Mapping[str, str] | None] = lambda pair: None,
) -> tuple[list[dict[str, str]], list[Pair]]:
    """Rows of one level a factor, such that every pair that can meet does; the same rows for the same factors.

    Greedy: each row starts with a pair not yet covered and takes, factor by factor, the level that covers most.

    Args:
        factors: the levels of each factor.
        excluded: pairs that may not meet.
        valid: whether a whole row may be; consulted for rows without excluded pairs.
        fallback: a valid row that holds a pair, if one is known; taken where the greedy row is not valid.

    Returns:
        The rows, and the pairs that are in none though they are not excluded.
    """
    open_pairs = dict.fromkeys(pair for pair in all_pairs(factors) if pair not in excluded)
    rows: list[dict[str, str]] = []
    missing: list[Pair] = []
    while open_pairs:
        pair = next(iter(open_pairs))
        row = _grown(factors, pair, open_pairs, excluded)
        if row is None or not valid(row):
            known = fallback(pair)
            row = None if known is None else dict(known)
        if row is None:
            missing.append(pair)
            del open_pairs[pair]
            continue
        rows.append(row)
        for each in pairs_of(row):
            open_pairs.pop(each, None)
        open_pairs.pop(pair, None)
    return rows, missing


def _grown(
    factors: Mapping[str, Sequence[str]], pair: Pair, open_pairs: Collection[Pair], excluded: Collection[Pair]
) -> dict[str, str] | None:
    """The pair completed to a row, or None where the choices so far leave a factor without a level."""
    row = dict(sorted(pair))
    for factor in sorted(set(factors) - set(row), key=lambda each: (-len(factors[each]), each)):
        best, most = None, -1
        for level in factors[factor]:
            pairs = [frozenset((choice, (factor, level))) for choice in row.items()]
            if any(each in excluded for each in pairs):
                continue
            new = sum(each in open_pairs for each in pairs)
            if new > most:
                best, most = level, new
        if best is None:
            return None
        row[factor] = best
    return {factor: row[factor] for factor in factors}
