"""The sentences on effects: what is settled, what is not, and what could not be compared.

Each says what was seen, how often, and no more: a reader who takes it word for word is not misled.
"""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from lightning_tx.core.measure import Direction
from lightning_tx.studies.factors import JOINT, Factor
from lightning_tx.studies.formatting import decimals_for, listed, number, probability
from lightning_tx.studies.interactions import Interaction
from lightning_tx.studies.looks import Look
from lightning_tx.studies.ordering import Ranking, Trend
from lightning_tx.studies.power import MOST_SEEDS
from lightning_tx.studies.statistics import (
    EQUIVALENT,
    IDENTICAL,
    INCONCLUSIVE,
    NO_SHARED_SEED,
    NO_SPREAD,
    NOT_MATCHED,
    ONE_SEED,
    Effect,
    effects,
)


def effect_decimals(effect: Effect) -> int:
    """Decimals for one effect and its interval: the width of the interval decides."""
    ends = effect.ends
    half = (ends[1] - ends[0]) / 2 if ends else None
    return decimals_for([half], [] if effect.estimate is None else [effect.estimate])


def ends_of(effect: Effect, between: str = " to ") -> str:
    """``-0.008 to +0.029``; empty without an interval."""
    decimals = effect_decimals(effect)
    return between.join(number(end, decimals, signed=True) for end in effect.ends or ())


def confidence(look: Look) -> str:
    """``95 %``, or ``95 % over 3 looks``."""
    return "95 %" if look.number == 1 else f"95 % over {look.number} looks"


def finding(effect: Effect, look: Look, num_tests: int, contexts: str = "") -> str:
    """One effect in a sentence: the difference, its interval, how many seeds agree, and what follows.

    Args:
        effect: one with an estimate.
        look: how strictly it was judged.
        num_tests: how many comparisons the verdicts count.
        contexts: beside what it was compared, where that is not everything.
    """
    assert effect.estimate is not None
    decimals = effect_decimals(effect)
    start = f"{_difference(effect)}{contexts} = {number(effect.estimate, decimals, signed=True)}"
    interval = f", {confidence(look)} {ends_of(effect)}" if effect.ends else ""
    seeds = f"over {_seeds(effect.num_seeds)}{_agreement(effect)}"
    return f"{start}{interval} {seeds}: {_verdict_words(effect, look, num_tests)}."


def _difference(effect: Effect) -> str:
    """``attention: gqa − mha``; levels of joint factors in brackets, for they hold a plus themselves."""
    level, baseline = (f"({name})" if JOINT in name else name for name in (effect.level, effect.baseline))
    return f"{effect.factor}: {level} − {baseline}"


def _agreement(effect: Effect) -> str:
    if not effect.estimate or not effect.num_seeds:
        return ""
    way = "higher" if effect.estimate > 0 else "lower"
    return f" ({way} at {effect.num_agreeing} of {effect.num_seeds})"


def _verdict_words(effect: Effect, look: Look, num_tests: int) -> str:
    if effect.verdict == NO_SPREAD:
        return (
            "the same to the last digit at every seed, so there is no spread to judge by; check what the seed changes"
        )
    if effect.verdict != INCONCLUSIVE:
        within = "" if effect.margin is None else f" within {_margin(effect.margin)}"
        return f"{effect.verdict}{within}" if effect.verdict == EQUIVALENT else effect.verdict
    words = "not settled"
    if effect.ends is None:
        return f"{words}; two seeds settle nothing"
    low, high = effect.ends
    bound = number(max(abs(low), abs(high)), effect_decimals(effect))
    words += f", at most {bound} either way"
    reasons = [f"counts {num_tests} comparisons"] if num_tests > 1 else []
    reasons += ["keeps a share of the 5 % for later looks"] if look.number == 1 else []
    if reasons and (low > 0 or high < 0):
        words += f" (the interval stands alone; the verdict {listed(reasons)})"
    return words + _outlook(effect)


def _outlook(effect: Effect) -> str:
    """What would be needed, or what can be seen at all; never from the effect that was observed."""
    decimals = effect_decimals(effect)
    if effect.margin is not None and effect.seeds_needed is not None:
        size = _margin(effect.margin)
        if effect.seeds_needed > MOST_SEEDS:
            return f"; a difference of {size} needs more than {MOST_SEEDS} seeds"
        if effect.seeds_needed > effect.num_seeds:
            return f"; a difference of {size} is found in 80 % of studies with {effect.seeds_needed} seeds in all"
    if effect.detectable is None:
        return ""
    size = number(effect.detectable, decimals)
    return f"; with {_seeds(effect.num_seeds)} only differences above about {size} show"


def _margin(size: float) -> str:
    return f"{size:.3g}"


def context_words(effect: Effect, table: pd.DataFrame) -> str:
    """`` (beside attention=mha only)`` where an effect was not compared beside everything that ran; else empty."""
    partial = [
        f"{name}={listed(levels)}"
        for name, levels in effect.contexts
        if len(levels) < len(set(table[name].astype(str)))
    ]
    return f" (beside {listed(partial)} only)" if partial else ""


def averaged_over(factors: Sequence[Factor], table: pd.DataFrame) -> str:
    """``averaged over attention = mha, gqa`` for the factors besides the one that an effect is of."""
    if len(factors) < 2 or table.empty:
        return ""
    parts = [f"{factor.name} = {', '.join(dict.fromkeys(table[factor.name].astype(str)))}" for factor in factors]
    return f", averaged over the others' levels ({'; '.join(parts)})"


def untested(
    factors: Sequence[Factor], table: pd.DataFrame, found: Sequence[Effect], identical_beside: Sequence[str]
) -> list[str]:
    """What could not be compared, and why.

    Args:
        factors: the study's factors.
        table: as for ``statistics.effects``.
        found: the effects.
        identical_beside: sentences on values that are equal in some combinations only.
    """
    if table.empty:
        return ["No run has finished with a value yet."]
    if not factors:
        return ["The study varies nothing but the seed: there is one combination and no effect to show."]
    sentences = []
    if any(effect.verdict == ONE_SEED for effect in found):
        sentences.append(
            "Every combination ran with one seed, so no difference can be told from chance. Five seeds are a start."
            if table.seed.nunique() == 1
            else "Where only one seed has both sides, no difference can be told from chance."
        )
    for factor in factors:
        done = list(dict.fromkeys(table[factor.name]))
        judged = any(effect.factor == factor.name and "diverged" in effect.verdict for effect in found)
        if len(done) == 1 and not judged:
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
    return [*sentences, *identical_beside]


def trend_words(trend: Trend, look: Look) -> str:
    """``model.d_model: -0.05 per doubling, 95 % -0.06 to -0.04.``"""
    half = (trend.high - trend.low) / 2
    decimals = decimals_for([half if math.isfinite(half) else None], [trend.slope])
    text = f"{trend.factor}: {number(trend.slope, decimals, signed=True)} per {trend.per}"
    if not math.isfinite(half):
        return f"{text}."
    ends = " to ".join(number(end, decimals, signed=True) for end in (trend.low, trend.high))
    return f"{text}, {confidence(look)} {ends}."


def ranking_words(ranking: Ranking) -> str:
    """The order of levels that were not all run beside the same choices."""
    if not ranking.effects:
        return f"{ranking.factor}: its levels never ran all beside the same choices, so they cannot be ranked."
    decimals = decimals_for([], [value for value in ranking.effects.values() if value])
    order = listed(f"{level} {number(value, decimals, signed=True)}" for level, value in ranking.effects.items())
    around = listed(f"{name}={listed(levels)}" for name, levels in ranking.contexts.items())
    return f"{ranking.factor}, best first beside {around}, where all of its levels ran: {order}."


def dependence(effect: Effect, other: str, within: Mapping[str, float], p_value: float) -> str:
    """The first sentence of a study whose effect changes sign with another factor."""
    return (
        f"{_difference(effect)} depends on {other}: {_by_level(within)} "
        f"({probability(p_value)}). An average over {other} describes none of them."
    )


def _by_level(values: Mapping[str, float]) -> str:
    """``-0.19 with mha and +0.05 with gqa``."""
    decimals = decimals_for([], list(values.values()))
    return listed(f"{number(value, decimals, signed=True)} with {label}" for label, value in values.items())


def against_test(found: Sequence[Effect], on_test: Sequence[Effect]) -> list[str]:
    """The effects on the test split, and those verdicts that it contradicts."""
    pairs = [(a, b) for a, b in zip(found, on_test, strict=False) if a.estimate is not None and b.estimate is not None]
    if not pairs:
        return []
    sentences = [
        f"{_difference(test)} = {number(test.estimate, effect_decimals(test), signed=True)}"
        f"{f' ({ends_of(test)})' if test.ends else ''}."
        for _, test in pairs
    ]
    for own, test in pairs:
        if own.settled and own.estimate and test.estimate and own.estimate * test.estimate < 0:
            sentences.append(f"{own.factor}={own.level}: the test split has the other sign.")
    return sentences


def interplay(
    between: Sequence[Interaction],
    within: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]],
    baselines: Mapping[str, str],
    level: float,
) -> list[str]:
    """Whether effects depend on each other, with the one that depends most; empty where it could not be tested.

    Args:
        between: the tested pairs.
        within: for a settled pair (both ways) the effects of each level by level of the other.
        baselines: baseline level by factor.
        level: below which a pair is settled.
    """
    sentences = []
    for pair in between:
        if pair.p_value >= level:
            continue
        factor, other = pair.factors
        sentence = f"The effect of {factor} depends on {other} ({probability(pair.p_value)})"
        levels = within.get((factor, other), {})
        if not levels:
            sentences.append(f"{sentence}.")
            continue
        name, values = max(levels.items(), key=lambda item: max(item[1].values()) - min(item[1].values()))
        sentences.append(f"{sentence}: {name} − {baselines[factor]} is {_by_level(values)}.")
    if between and not sentences:
        smallest = min(pair.p_value for pair in between)
        sentences.append(
            f"No interaction is settled (smallest {probability(smallest)}); few seeds see only large ones."
        )
    return sentences


def effects_within(
    factor: str,
    other: str,
    table: pd.DataFrame,
    baselines: Mapping[str, str],
    columns: Sequence[str],
    direction: Direction,
) -> dict[str, dict[str, float]]:
    """The effect of every level of ``factor`` by level of ``other``, for those known at two of these or more."""
    rest = [name for name in columns if name not in (factor, other)]
    levels: dict[str, dict[str, float]] = {}
    for name, part in table.groupby(other, sort=False):
        for effect in effects(part, [factor], direction, baselines, rest):
            if effect.estimate is not None:
                levels.setdefault(effect.level, {})[str(name)] = effect.estimate
    return {level: values for level, values in levels.items() if len(values) > 1}


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
