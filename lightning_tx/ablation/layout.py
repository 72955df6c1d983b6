"""What the renderers of a report share: headings, notes and the scale of numbers."""

from collections.abc import Sequence

from lightning_tx.ablation.formatting import decimals_for
from lightning_tx.ablation.places import Unfinished
from lightning_tx.ablation.report import Report
from lightning_tx.ablation.statistics import Effect


def direction_words(report: Report) -> str:
    """``lower is better`` or ``higher is better``."""
    return "lower is better" if report.direction == "min" else "higher is better"


def summary(report: Report) -> str:
    """How much of the study there is: ``17 of 18 runs finished, 6 combinations, 3 seeds``."""
    done = report.num_runs - len(report.unfinished)
    parts = [f"{done} of {report.num_runs} runs finished"]
    if report.combinations:
        combinations = len(report.combinations)
        parts.append("1 combination" if combinations == 1 else f"{combinations} combinations")
        parts.append("1 seed" if report.num_seeds == 1 else f"{report.num_seeds} seeds")
    return ", ".join(parts)


def effects_note(report: Report) -> str:
    """How the effects are to be read."""
    text = (
        f"Effect: change of {report.metric} when only this factor changes, over runs of equal seed and equal other "
        "factors"
    )
    num_tests = sum(effect.p_value is not None for effect in report.effects)
    if num_tests > 1:
        return f"{text}. Intervals stand each alone; verdicts hold for all {num_tests} comparisons together (Holm)."
    return f"{text}."


def combination_decimals(report: Report) -> int:
    """Decimals for the means of combinations: their typical spread over seeds decides."""
    spreads = [row.spread for row in report.combinations if row.spread is not None]
    typical = (sum(spread**2 for spread in spreads) / len(spreads)) ** 0.5 if spreads else None
    return decimals_for([typical], [row.mean for row in report.combinations])


def extent(effects: Sequence[Effect]) -> tuple[float, float]:
    """The ends of a scale that shows every interval and zero."""
    ends = [end for effect in effects for end in (effect.low, effect.high) if end is not None]
    return min([0.0, *ends]), max([0.0, *ends])


def sections(report: Report) -> list[tuple[str, Sequence[str]]]:
    """The sentences under their headings, in the order of reading; without the empty ones."""
    missing = [f"{place_name(entry)}: {entry.reason}" for entry in report.unfinished]
    titled = [
        ("Real differences", report.settled),
        ("Inconclusive", report.unsettled),
        ("Not compared", report.untested),
        ("Interaction", report.interplay),
        ("Differs besides the factor", report.differences),
        ("Caution", report.cautions),
        ("Missing runs", missing),
    ]
    return [(title, sentences) for title, sentences in titled if sentences]


def place_name(entry: Unfinished) -> str:
    """Which run is meant: ``positions=rope attention=gqa seed=2``."""
    labels = [f"{factor}={level}" for factor, level in entry.levels.items()]
    seed = [] if entry.seed is None else [f"seed={entry.seed}"]
    return " ".join([*labels, *seed]) or "the run"
