"""The sentences on what limits a comparison: what differs besides the factors, and how the runs came about."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_tx.core import names
from lightning_tx.studies.confounds import COSTS, FLOPS, SECONDS, SIZES, TOKENS, Confound
from lightning_tx.studies.factors import Factor
from lightning_tx.studies.facts import between_seeds as facts_between_seeds
from lightning_tx.studies.facts import brief, is_fact, unknown_beside
from lightning_tx.studies.formatting import amount, decimals_for, listed, number, percent
from lightning_tx.studies.keys import ABSENT, label_of, value_at
from lightning_tx.studies.spread import UnevenSpread

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

LAST_STEP = f"{names.LAST}step"
RATE = "optimizer.lr"

#: So many keys are named in one sentence; the rest is counted.
MOST_KEYS = 4
#: So many characters of a value are shown.
LONGEST_VALUE = 40

_SIZE_NAMES: dict[str, str] = {
    **dict(zip(SIZES, ("parameters", "trainable parameters", "active parameters"), strict=True)),
    TOKENS: "tokens to train on",
    FLOPS: "FLOPs",
}
#: Sizes and costs in the order in which they are told.
_TOLD = (*SIZES, *COSTS)
#: How facts are called in a sentence, where it is not by their own name.
_FACT_NAMES = {
    "validation_data": "validation data",
    "test_data": "test data",
    "validation_targets": "the number of validation targets",
    "test_targets": "the number of test targets",
    "lightning_tx": "the version of lightning_tx",
    "code": "the code of lightning_tx",
    "torch": "the version of torch",
}


def differences(found: Sequence[Confound]) -> list[str]:
    """What differs besides the factors: a sentence on sizes and one on settings, for all levels that share it."""
    levels: dict[tuple[str, str, str], list[Confound]] = {}
    for confound in found:
        levels.setdefault((confound.factor, confound.level, confound.baseline), []).append(confound)
    sentences: dict[tuple[str, str, str], list[str]] = {}
    for (factor, level, baseline), members in levels.items():
        sizes = _distinct_sizes([confound for confound in members if confound.key in _TOLD])
        if sizes:
            text = listed(_size(confound, baseline) for confound in sizes)
            sentences.setdefault((factor, "", text), []).append(level)
        settings = [confound for confound in members if confound.key not in _TOLD]
        # Other data or another precision weigh more than most keys, of which only the first few are named.
        settings.sort(key=lambda confound: not is_fact(confound.key))
        if settings:
            sentences.setdefault((factor, baseline, _settings(settings)), []).append(level)
    return [
        f"{factor}={listed(levels)} against {baseline} also differ{'s' if len(levels) == 1 else ''} in {text}."
        if baseline
        else f"{factor}={listed(levels)} {'has' if len(levels) == 1 else 'have'} {text}."
        for (factor, baseline, text), levels in sentences.items()
    ]


def _distinct_sizes(sizes: Sequence[Confound]) -> list[Confound]:
    """Total, trainable and active parameters are mostly the same number: it is said once."""
    kept: dict[tuple[Any, Any], Confound] = {}
    for confound in sorted(sizes, key=lambda confound: _TOLD.index(confound.key)):
        kept.setdefault((confound.value, confound.baseline_value), confound)
    return list(kept.values())


def _size(confound: Confound, baseline: str) -> str:
    value, reference = confound.value, confound.baseline_value
    if confound.key == SECONDS:
        change = percent(value, reference).lstrip("+-")
        way = "longer" if value > reference else "shorter"
        return f"{change} {way} training than {baseline} (medians: {amount(value)} s against {amount(reference)} s)"
    name = _SIZE_NAMES[confound.key]
    if ABSENT in (value, reference):
        return f"no comparable count of {name}"
    several = "medians: " if confound.key in COSTS else "e.g. "
    numbers = f"{several if confound.varies else ''}{amount(value)} against {amount(reference)}"
    way = "more" if value > reference else "fewer"
    if not reference:
        return f"more {name} than {baseline} ({numbers})"
    return f"{percent(value, reference).lstrip('+-')} {way} {name} than {baseline} ({numbers})"


def _settings(settings: Sequence[Confound]) -> str:
    texts = [_setting(confound) for confound in settings[:MOST_KEYS]]
    if len(settings) > MOST_KEYS:
        pair = " ".join(run_id[:8] for run_id in settings[0].pair)
        texts.append(f"{len(settings) - MOST_KEYS} more (ltx diff {pair})")
    return "; ".join(texts)


def _setting(confound: Confound) -> str:
    partly = (
        f", in {confound.num_differing} of {confound.num_pairs} pairs"
        if confound.num_differing < confound.num_pairs
        else ""
    )
    return f"{_named(confound.key)} ({shown(confound.value)} instead of {shown(confound.baseline_value)}{partly})"


def _named(key: str) -> str:
    fact = key.removeprefix(names.FACTS)
    return _FACT_NAMES.get(fact, fact) if is_fact(key) else key


def shown(value: Any) -> str:
    """A config's value for a sentence: short, and ``not set`` where there is none."""
    if value == ABSENT:
        return "not set"
    text = label_of(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def unplanned(unswept: Mapping[str, Mapping[str, str]], settings: Sequence[Factor]) -> list[str]:
    """Settings that changed between the study's sweeps: which, and what was done about it."""
    if not unswept or not settings:
        return []
    ids = {label: [run_id for run_id, own in settings[0].level.items() if own == label] for label in settings[0].levels}
    texts = []
    for key, labels in list(unswept.items())[:MOST_KEYS]:
        values = [f"{shown(labels[members[0]])} in {_runs(len(members))}" for members in _by_value(labels).values()]
        texts.append(f"{_named(key)} ({', '.join(values)})")
    more = f" and {len(unswept) - MOST_KEYS} more keys" if len(unswept) > MOST_KEYS else ""
    legend = ""
    if len(unswept) > 1:
        marks = [f"{label}: {_runs(len(members))}" for label, members in ids.items()]
        legend = f" The column {settings[0].name!r} tells them apart ({', '.join(marks)})."
    return [
        f"Changed without being swept: {'; '.join(texts)}{more}. "
        f"Runs are averaged and compared only where these are equal.{legend}"
    ]


def _by_value(labels: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for run_id, label in labels.items():
        groups.setdefault(label, []).append(run_id)
    return groups


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def repeated(measured: Sequence["RunRecord"], used: Sequence["RunRecord"]) -> list[str]:
    """Runs of the same combination and seed: the latest counts."""
    surplus = len(measured) - len(used)
    if not surplus:
        return []
    verb = "repeats" if surplus == 1 else "repeat"
    return [f"{_runs(surplus)} {verb} a combination and seed that ran again later; the latest counts."]


def provenance(used: Sequence["RunRecord"], configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """More than one version of the code, more than one machine, configs that are not known."""
    sentences = []
    commits = _values(used, names.GIT_COMMIT)
    if len(commits) > 1:
        sentences.append(f"The runs come from {len(commits)} versions of the code: {_some(commits, 8)}.")
    resumed = sum(names.CODE_CHANGED in run.tags for run in used)
    if resumed:
        sentences.append(f"{_runs(resumed)} changed code when resumed.")
    changed: dict[str, int] = {}
    for run in used:
        for fact, (before, after) in json.loads(run.tags.get(names.FACTS_CHANGED, "{}")).items():
            values = [shown(brief(fact, value)) for value in (before, after)]
            text = f"{_named(names.FACTS + fact)} ({' to '.join(values)})"
            changed[text] = changed.get(text, 0) + 1
    sentences += [f"{_runs(count)} changed {text} when resumed." for text, count in changed.items()]
    hosts = _values(used, names.HOST)
    if len(hosts) > 1:
        sentences.append(f"The runs come from {len(hosts)} machines ({_some(hosts, 20)}): tokens/s may not compare.")
    unknown = sum(run.run_id not in configs for run in used)
    if unknown:
        sentences.append(f"{_runs(unknown)} without a recorded config could not be checked for other differences.")
    return sentences


def _values(runs: Sequence["RunRecord"], tag: str) -> list[str]:
    return list(dict.fromkeys(run.tags[tag] for run in runs if tag in run.tags))


def _some(values: Sequence[str], length: int) -> str:
    return _first([value[:length] for value in values])


def _first(words: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    return listed([*words[:MOST_KEYS], f"{len(words) - MOST_KEYS} more"] if len(words) > MOST_KEYS else words)


def uneven(spread: UnevenSpread | None, columns: Sequence[Factor]) -> list[str]:
    """A combination that varies far more between seeds than the others."""
    if spread is None:
        return []
    name = " ".join(f"{column.name}={level}" for column, level in zip(columns, spread.cell, strict=True))
    decimals = decimals_for([spread.spread, spread.others])
    return [
        f"{name} varies far more between seeds than the rest ({number(spread.spread, decimals)} against "
        f"{number(spread.others, decimals)}): it widens the intervals of what it is part of."
    ]


def aliased(factors: Sequence[Factor]) -> list[str]:
    """Factors that always changed together."""
    return [
        f"{listed(factor.aliased)} always changed together: their joint effect is shown; which of them causes it "
        "cannot be told."
        for factor in factors
        if factor.aliased
    ]


def unread(factors: Sequence[Factor]) -> list[str]:
    """Choices that some runs do not read, and how those are counted."""
    return [
        f"{factor.name} is read by nothing where {listed(without)}; "
        f"such runs count as {factor.name}={factor.levels[0]}."
        for factor in factors
        if factor.unread
        for without in [
            [
                f"{other.name}={level}"
                for other in factors
                if other is not factor
                for level in other.levels
                if {run_id for run_id, its in other.level.items() if its == level} <= factor.unread
            ]
        ]
        if without
    ]


def between_seeds(used: Sequence["RunRecord"]) -> list[str]:
    """Facts that differ between seeds and never within one."""
    sentences = []
    for key, values in facts_between_seeds(used).items():
        parts = [f"{shown(value)} for {_seeds(seeds)}" for value, seeds in values.items()]
        sentences.append(f"{_named(key)} differs between seeds: {listed(parts)}. Every comparison is within a seed.")
    return sentences


def _seeds(seeds: Sequence[int | None]) -> str:
    """``seed 3``, ``seeds 3 and 4``, ``seeds 0 to 2 and 7``."""
    rows: list[list[int]] = []
    for seed in sorted(seed for seed in seeds if seed is not None):
        if rows and seed == rows[-1][-1] + 1:
            rows[-1].append(seed)
        else:
            rows.append([seed])
    spans = [
        name for row in rows for name in ([f"{row[0]} to {row[-1]}"] if len(row) > 2 else [str(seed) for seed in row])
    ]
    if not spans:
        return "runs without a seed"
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {_first(spans)}"


def unknown_facts(used: Sequence["RunRecord"]) -> list[str]:
    """Facts that were recorded of some of the runs only."""
    keys: dict[int, list[str]] = {}
    for key, count in unknown_beside(used).items():
        keys.setdefault(count, []).append(_named(key))
    return [
        f"{_runs(count)} did not record {listed(facts)}: differences in "
        f"{'this' if len(facts) == 1 else 'these'} could not be checked."
        for count, facts in keys.items()
    ]


def nonfinite(used: Sequence["RunRecord"]) -> list[str]:
    """Runs that met a number that was none and ended with a value all the same."""
    met = {run.name or run.run_id[:8]: run.tags[names.NONFINITE] for run in used if names.NONFINITE in run.tags}
    if not met:
        return []
    places = [f"{name} ({where.replace('@', ' at step ')})" for name, where in met.items()]
    return [f"Infinite or undefined numbers occurred before the end in {_runs(len(met))}: {_first(places)}."]


def ended_early(used: Sequence["RunRecord"]) -> list[str]:
    """Runs that did not all end at the same step, whose ends of training are then not the same."""
    steps = sorted({int(run.metrics[LAST_STEP]) for run in used if LAST_STEP in run.metrics})
    if len(steps) < 2:
        return []
    return [f"Training ended at different steps ({steps[0]:,} to {steps[-1]:,}): the ends compared are not the same."]


def untuned(
    used: Sequence["RunRecord"], configs: Mapping[str, Mapping[str, Any]], factors: Sequence[Factor]
) -> list[str]:
    """That one learning rate serves all arms, where it does and there are arms."""
    rates = {label_of(value_at(configs[run.run_id], RATE)) for run in used if run.run_id in configs}
    if not factors or len(rates) != 1 or rates & {ABSENT, "null"} or any(factor.owns(RATE) for factor in factors):
        return []
    return [f"{RATE} = {rates.pop()} for all arms, not tuned for each."]
