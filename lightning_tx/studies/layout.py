"""What the renderers of a report share: headings, notes and the scale of numbers."""

from collections.abc import Sequence

from lightning_tx.studies.combinations import Combination
from lightning_tx.studies.formatting import amount, decimals_for, number
from lightning_tx.studies.report import Report
from lightning_tx.studies.statistics import NOT_COMPARABLE, Effect
from lightning_tx.studies.wording import confidence, effect_decimals


def direction_words(report: Report) -> str:
    """``lower is better`` or ``higher is better``."""
    return "lower is better" if report.direction == "min" else "higher is better"


def summary(report: Report) -> str:
    """How much of the study there is: ``17 of 18 runs finished, 6 combinations, 3 seeds, look 2``."""
    finished = report.num_runs - len(report.unfinished) - report.num_diverged
    parts = [f"{finished} of {report.num_runs} runs finished"]
    if report.num_diverged:
        parts.append(f"{report.num_diverged} diverged")
    if report.combinations:
        combinations = len(report.combinations)
        parts.append("1 combination" if combinations == 1 else f"{combinations} combinations")
        parts.append("1 seed" if report.num_seeds == 1 else f"{report.num_seeds} seeds")
    if report.look.number > 1:
        parts.append(f"look {report.look.number}")
    return ", ".join(parts)


def effects_note(report: Report) -> str:
    """How the effects are to be read."""
    text = f"Effect: change of {report.metric} when only this factor changes, at equal seeds{report.averaged_over}. "
    if any(effect.ends for effect in report.effects):
        text += f"Intervals: {confidence(report.look)}, each alone, with the seed as the replicate."
    num_tests = sum(effect.p_value is not None for effect in report.effects)
    if not num_tests:
        return text.rstrip()
    if not report.look.verdict:
        return f"{text} Two seeds settle nothing: there are no verdicts."
    together = f"of {num_tests} comparisons together (Holm)" if num_tests > 1 else "of the one comparison"
    share = f"{100 * report.look.verdict:.2g} %"
    return f"{text} Verdicts {together}, at {share} for this look and 5 % for all looks there may be."


def in_noise(effect: Effect) -> str:
    """The effect divided by the noise of seeds: ``-2.1``; empty without noise."""
    if effect.estimate is None or not effect.noise:
        return ""
    return number(effect.estimate / effect.noise, 1, signed=True)


def on_test(report: Report, effect: Effect) -> str:
    """The same effect on the test split; empty where it was not measured."""
    same = [test for test in report.test_effects if (test.factor, test.level) == (effect.factor, effect.level)]
    return number(same[0].estimate, effect_decimals(same[0]), signed=True) if same else ""


def speed(row: Combination) -> str:
    """Tokens per second, ``~19.4 k`` where the runs do not agree on it."""
    return f"{'' if row.steady else '~'}{amount(row.tokens_per_second)}"


def combinations_note(report: Report) -> str:
    """What the marks mean; empty where there are none."""
    notes = []
    if any(effect.verdict == NOT_COMPARABLE for effect in report.effects):
        notes.append("Not all of these values can be compared.")
    if any(row.told_apart is False for row in report.combinations):
        notes.append("≈: its difference from the best is not settled.")
    if any(not row.steady for row in report.combinations):
        notes.append("~: the runs do not agree on the speed; the median is shown.")
    return " ".join(notes)


def combination_decimals(report: Report) -> int:
    """Decimals for the means of combinations: their typical spread over seeds decides."""
    spreads = [row.spread for row in report.combinations if row.spread is not None]
    typical = (sum(spread**2 for spread in spreads) / len(spreads)) ** 0.5 if spreads else None
    return decimals_for([typical], [row.mean for row in report.combinations])


def extent(effects: Sequence[Effect]) -> tuple[float, float]:
    """The ends of a scale that shows every interval and zero."""
    ends = [end for effect in effects for end in effect.ends or ()]
    return min([0.0, *ends]), max([0.0, *ends])


def sections(report: Report) -> list[tuple[str, Sequence[str]]]:
    """The sentences under their headings, in the order of reading; without the empty ones."""
    titled = [
        ("Depends", report.dependent),
        ("Settled", report.settled),
        ("Not settled", report.unsettled),
        ("Not compared", report.untested),
        ("Diverged or lost", report.lost),
        ("On the test split", report.on_test),
        ("Interaction", report.interplay),
        ("Order of levels", report.order),
        ("Differs besides the factor", report.differences),
        ("Caution", report.cautions),
        ("Missing runs", [f"{entry.name}: {entry.reason}" for entry in report.unfinished]),
    ]
    return [(title, sentences) for title, sentences in titled if sentences]
