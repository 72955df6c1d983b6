"""Which levels can be compared by which metric: a loss per token says nothing across tokenizers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_tx.core.measure import TARGETS, TEXT, Measure, measure_of, split
from lightning_tx.studies.confounds import pairs_of
from lightning_tx.studies.factors import Factor
from lightning_tx.studies.facts import DATA
from lightning_tx.studies.formatting import listed
from lightning_tx.studies.metric import Metric

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

#: By (factor, level): the facts that differ from the baseline's though the metric needs them equal.
Apart = Mapping[tuple[str, str], tuple[str, ...]]

#: The parameter that tells the task of a run, whether or not it recorded facts.
_TASK = "task.name"
_PER_TOKEN = ("loss", "perplexity", "accuracy")
_WORDS = {
    "validation_data": "the validation data differ",
    "test_data": "the test data differ",
    "tokenizer": "the tokenizers differ",
    "objective": "the objectives differ",
    "validation_targets": "the validation targets differ",
    "test_targets": "the test targets differ",
    "device": "the devices differ",
    "threads": "the numbers of threads differ",
}


def incomparable(
    runs: Sequence["RunRecord"], factors: Sequence[Factor], baselines: Mapping[str, str], metric: Metric
) -> dict[tuple[str, str], tuple[str, ...]]:
    """The levels whose values mean something else than their baseline's, each with the facts that differ.

    Compared are pairs of runs with equal levels of every other factor and the same seed; where two levels share no
    seed, and are linked by a third one, those of any seeds.

    Args:
        runs: the runs with a value.
        factors: the study's factors.
        baselines: baseline level by factor.
        metric: what is compared; of one whose needs are not recorded they are told by its name.
    """
    needs = _needs(metric)
    facts = {run.run_id: _known_of(run) for run in runs}
    apart = {}
    for column, factor in enumerate(factors):
        for level, pairs in _pairs(runs, factors, column, baselines[factor.name]).items():
            differing = tuple(need for need in needs if any(_differ(facts[a], facts[b], need) for a, b in pairs))
            if differing:
                apart[factor.name, level] = differing
    return apart


def _pairs(
    runs: Sequence["RunRecord"], factors: Sequence[Factor], column: int, baseline: str
) -> dict[str, list[tuple[str, str]]]:
    found = pairs_of(runs, factors, column, baseline)
    places = [(run.run_id, [factor.level[run.run_id] for factor in factors]) for run in runs]
    for level in factors[column].levels:
        if level != baseline and level not in found:
            found[level] = [
                (run_id, other)
                for run_id, own in places
                for other, levels in places
                if own[column] == level and levels == [*own[:column], baseline, *own[column + 1 :]]
            ]
    return found


def alternatives(
    runs: Sequence["RunRecord"], factors: Sequence[Factor], baselines: Mapping[str, str], metric: Metric
) -> list[Metric]:
    """Other metrics of the same moment that all runs have and by which every level can be compared."""
    prefix, _ = split(metric.name)
    if not prefix:
        return []
    measures = {name: measure for run in runs for name, measure in run.measures.items()}
    found = []
    for name in measures:
        full = f"{prefix}{name}"
        measure = measure_of(full, measures)
        if measure is None or full == metric.name or not all(full in run.metrics for run in runs):
            continue
        other = Metric(full, measure.direction, measure)
        if not incomparable(runs, factors, baselines, other):
            found.append(other)
    return found


def incomparable_words(apart: Apart, baselines: Mapping[str, str], metric: str, other: str | None) -> list[str]:
    """One sentence for each level, with what to compare by instead."""
    instead = f" {other} can be compared." if other else " The task has no metric that can be compared."
    return [
        f"{factor}={level} and {baselines[factor]} cannot be compared by {metric}: "
        f"{listed(_WORDS.get(need, f'{need} differs') for need in needs)}.{instead}"
        for (factor, level), needs in apart.items()
    ]


def _known_of(run: "RunRecord") -> dict[str, str]:
    return {key: value for key, value in run.params.items() if key == _TASK} | run.facts


def _differ(a: Mapping[str, str], b: Mapping[str, str], need: str) -> bool:
    """Whether two runs differ in a fact; where one of them did not record it, in what it follows from."""
    if need not in a or need not in b:
        need = DATA if need.endswith("_data") else _TASK if need == "objective" else need
    return need in a and need in b and a[need] != b[need]


def _needs(metric: Metric) -> tuple[str, ...]:
    if metric.measure is not None:
        return metric.measure.needs
    _, base = split(metric.name)
    needs = TARGETS if base in _PER_TOKEN else TEXT
    declared = measure_of(metric.name, {base: Measure(metric.direction, needs)})
    return declared.needs if declared else ()
