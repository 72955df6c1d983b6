"""The sentences on effects: which differences are real, and which are not settled."""

from collections.abc import Mapping, Sequence

import pandas as pd

from lightning_tx.ablation.factors import Factor
from lightning_tx.ablation.formatting import decimals_for, listed, number, probability
from lightning_tx.ablation.interactions import Interaction
from lightning_tx.ablation.statistics import (
    ALPHA,
    IDENTICAL,
    INCONCLUSIVE,
    MOST_MORE_SEEDS,
    NO_SHARED_SEED,
    NOT_MATCHED,
    ONE_SEED,
    Direction,
    Effect,
    effects,
)


def effect_decimals(found: Sequence[Effect]) -> int:
    """Decimals for the estimates and intervals of a study: the narrowest interval decides."""
    margins = [(effect.high - effect.low) / 2 for effect in found if effect.low is not None and effect.high is not None]
    return decimals_for(margins, [effect.estimate for effect in found if effect.estimate is not None])


def more_seeds(effect: Effect) -> str:
    """``about 12``, or ``> 100``; empty where it cannot be told."""
    if effect.more_seeds is None:
        return ""
    return f"about {effect.more_seeds}" if effect.more_seeds <= MOST_MORE_SEEDS else f"> {MOST_MORE_SEEDS}"


def settled(found: Sequence[Effect], metric: str) -> list[str]:
    """One sentence per effect that is better or worse."""
    decimals = effect_decimals(found)
    sentences = []
    for effect in found:
        if not effect.settled or effect.estimate is None or effect.low is None or effect.high is None:
            continue
        way = "lower" if effect.estimate < 0 else "higher"
        ends = sorted((abs(effect.low), abs(effect.high)))
        interval = f" ({number(ends[0], decimals)} to {number(ends[1], decimals)})" if ends[0] < ends[1] else ""
        sentences.append(
            f"{effect.factor}={effect.level} is {effect.verdict} than {effect.baseline}: "
            f"{metric} is {number(abs(effect.estimate), decimals)} {way}{interval}."
        )
    return sentences


def unsettled(found: Sequence[Effect]) -> list[str]:
    """One sentence per effect that the spread leaves open."""
    decimals = effect_decimals(found)
    num_tests = sum(effect.p_value is not None for effect in found)
    return [_inconclusive(effect, decimals, num_tests) for effect in found if effect.verdict == INCONCLUSIVE]


def _inconclusive(effect: Effect, decimals: int, num_tests: int) -> str:
    if effect.low is None or effect.high is None or effect.estimate is None:
        raise ValueError(f"{effect} has no interval")
    interval = f"{number(effect.low, decimals, signed=True)} and {number(effect.high, decimals, signed=True)}"
    text = f"{effect.factor}={effect.level} against {effect.baseline} is inconclusive: between {interval}"
    if effect.low > 0 or effect.high < 0:
        text += f" on its own, but among {num_tests} comparisons one looks like that by chance"
    if effect.more_seeds is not None and effect.more_seeds <= MOST_MORE_SEEDS:
        seeds = "1 more seed" if effect.more_seeds == 1 else f"{effect.more_seeds} more seeds"
        return f"{text}; about {seeds} would settle a difference of {number(effect.estimate, decimals, signed=True)}."
    return f"{text}; {MOST_MORE_SEEDS} more seeds would not settle a difference of this size."


def untested(factors: Sequence[Factor], table: pd.DataFrame, found: Sequence[Effect]) -> list[str]:
    """What could not be compared, and why."""
    if table.empty:
        return ["No run has finished with a value yet."]
    if not factors:
        return ["The study varies nothing but the seed: there is one combination and no effect to show."]
    sentences = []
    if any(effect.verdict == ONE_SEED for effect in found):
        sentences.append(
            "Every combination ran with one seed, so no difference can be told from chance. Three seeds are a start."
        )
    for factor in factors:
        done = list(dict.fromkeys(table[factor.name]))
        if len(done) == 1:
            sentences.append(f"Only {factor.name}={done[0]} has finished: there is nothing to compare it with yet.")
    for effect in found:
        name = f"{effect.factor}={effect.level}"
        if effect.verdict == IDENTICAL:
            sentences.append(
                f"{name} and {effect.baseline} give exactly the same values: does the option reach the model?"
            )
        elif effect.verdict == NOT_MATCHED:
            sentences.append(f"{name} has not finished beside {effect.baseline} with everything else equal.")
        elif effect.verdict == NO_SHARED_SEED:
            sentences.append(f"{name} and {effect.baseline} have no seed in common: run both with the same seeds.")
    return sentences


def interplay(
    between: Sequence[Interaction],
    table: pd.DataFrame,
    found: Sequence[Effect],
    baselines: Mapping[str, str],
    matched_on: Sequence[str],
    direction: Direction,
) -> list[str]:
    """Whether effects depend on each other, with the one that depends most; empty where it could not be tested."""
    sentences = []
    for pair in between:
        if pair.p_value >= ALPHA:
            continue
        factor, other = pair.factors
        sentence = f"The effect of {factor} depends on {other} ({probability(pair.p_value)})"
        levels = _effects_within(factor, other, table, baselines, matched_on, direction)
        if not levels:
            sentences.append(f"{sentence}.")
            continue
        level, values = max(levels.items(), key=lambda item: max(item[1].values()) - min(item[1].values()))
        decimals = effect_decimals(found)
        parts = [f"{number(value, decimals, signed=True)} with {name}" for name, value in values.items()]
        sentences.append(f"{sentence}: {level} against {baselines[factor]} is {listed(parts)}.")
    if between and not sentences:
        smallest = min(pair.p_value for pair in between)
        sentences.append(f"No sign that one factor's effect depends on another ({probability(smallest)}).")
    return sentences


def _effects_within(
    factor: str,
    other: str,
    table: pd.DataFrame,
    baselines: Mapping[str, str],
    matched_on: Sequence[str],
    direction: Direction,
) -> dict[str, dict[str, float]]:
    """The effect of every level of ``factor`` by level of ``other``, for those known at two of these or more."""
    rest = [name for name in baselines if name not in (factor, other)]
    levels: dict[str, dict[str, float]] = {}
    for name, part in table.groupby(other, sort=False):
        for effect in effects(part, [factor], direction, baselines, [*rest, *matched_on]):
            if effect.estimate is not None:
                levels.setdefault(effect.level, {})[str(name)] = effect.estimate
    return {level: values for level, values in levels.items() if len(values) > 1}
