"""What differs between runs besides what was meant to differ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_tx.ablation.factors import PLUGIN_DIGEST, Factor
from lightning_tx.ablation.keys import ABSENT, below, fingerprint, flatten, label_of
from lightning_tx.tracking.tags import FACTS

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

#: Sizes that a factor may change unasked: a variant with more parameters is not only another variant.
SIZES = ("params/total", "params/trainable", "params/active")
#: What a run cost besides; the last one is measured, and noisy.
TOKENS, FLOPS, SECONDS = COSTS = ("train/tokens", "flops/total", "time/train_seconds")
#: Costs closer than this share are equal.
TOLERANCE = {TOKENS: 0.001, FLOPS: 0.01, SECONDS: 0.1}

#: The fact that implies those about single splits.
DATA = "data"
#: Facts by what implies them: where that differs, or is the factor itself, they are not told again.
IMPLIED = {
    "validation_data": (DATA,),
    "test_data": (DATA,),
    "validation_targets": (DATA, "tokenizer", "objective", "model.max_seq_len", "pattern"),
    "test_targets": (DATA, "tokenizer", "objective", "model.max_seq_len", "pattern"),
    "tokenizer": (DATA,),
    DATA: (),
    "objective": ("task",),
    "code": ("lightning_tx",),
}


class Difference(NamedTuple):
    """One key on which two configs disagree; ``ABSENT`` where a config does not have it."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Confound:
    """A key that differs between a level and its baseline though it is not the factor's own.

    Attributes:
        factor: name of the factor.
        level: the level judged.
        baseline: the level it is compared with.
        key: a dotted key of the config, or one of ``SIZES``.
        value: what the runs with the level have, in the first pair that differs.
        baseline_value: what those with the baseline have.
        varies: whether other pairs have other values.
        num_differing: pairs of runs that differ in it.
        num_pairs: pairs of runs that were compared.
        pair: ids of the first two runs that differ.
    """

    factor: str
    level: str
    baseline: str
    key: str
    value: Any
    baseline_value: Any
    varies: bool
    num_differing: int
    num_pairs: int
    pair: tuple[str, str]


def differences(
    config_a: Mapping[str, Any], config_b: Mapping[str, Any], volatile: Iterable[str] = ()
) -> list[Difference]:
    """The keys on which two nested configs disagree, sorted.

    Args:
        config_a: a resolved config.
        config_b: another one.
        volatile: keys to pass over, each with everything below it (paths, devices, workers, logging).
    """
    flat_a, flat_b = flatten(config_a), flatten(config_b)
    is_volatile = below(volatile)
    return [
        Difference(key, flat_a.get(key, ABSENT), flat_b.get(key, ABSENT))
        for key in sorted(flat_a.keys() | flat_b.keys())
        if not is_volatile(key) and fingerprint(flat_a, key) != fingerprint(flat_b, key)
    ]


def confounds(
    runs: Sequence["RunRecord"],
    configs: Mapping[str, Mapping[str, Any]],
    factors: Sequence[Factor],
    baselines: Mapping[str, str] | None = None,
    volatile: Iterable[str] = (),
) -> list[Confound]:
    """What differs besides the factor, for each level against its factor's baseline.

    Compared are pairs of runs with equal levels of every other factor and the same seed, so that whatever differs
    comes with this factor or came between two sweeps. Runs whose config is not known are passed over.

    Args:
        runs: the runs that the effects are computed from.
        configs: resolved configs by run id.
        factors: the study's factors.
        baselines: baseline level by factor; a factor's first level unless told.
        volatile: keys to pass over, each with everything below it.
    """
    is_volatile = below(volatile)
    known = [run for run in runs if run.run_id in configs]
    facts = {
        run.run_id: {
            key: value
            for key, value in {**flatten(configs[run.run_id]), **_besides(run)}.items()
            if not is_volatile(key) and key != "seed"
        }
        for run in known
    }
    costs = {run.run_id: {key: run.metrics[key] for key in COSTS if key in run.metrics} for run in known}
    found = []
    for column, factor in enumerate(factors):
        baseline = (baselines or {}).get(factor.name, factor.levels[0])
        for level, pairs in pairs_of(known, factors, column, baseline).items():
            found += _without_implied(factor, _compare(factor, level, baseline, pairs, facts))
            found += _compare_costs(factor, level, baseline, pairs, costs)
    return found


def pairs_of(
    runs: Sequence["RunRecord"], factors: Sequence[Factor], column: int, baseline: str
) -> dict[str, list[tuple[str, str]]]:
    """By level of one factor, each run with it and the one of the same seed that has the baseline, all else equal.

    Args:
        runs: runs, in order; of those in the same place the last counts.
        factors: the study's factors.
        column: which of them.
        baseline: its baseline level.
    """
    place_of: dict[tuple[str | int | None, ...], str] = {
        (*(factor.level[run.run_id] for factor in factors), run.seed): run.run_id for run in runs
    }
    found: dict[str, list[tuple[str, str]]] = {}
    for place, run_id in place_of.items():
        partner = place_of.get((*place[:column], baseline, *place[column + 1 :]))
        if place[column] != baseline and partner is not None:
            found.setdefault(str(place[column]), []).append((run_id, partner))
    return {level: found[level] for level in factors[column].levels if level in found}


def facts_of(run: "RunRecord") -> dict[str, str]:
    """What a run was made of besides its config; runs of before facts were recorded have digests and precision."""
    earlier = {DATA: "data_digest", "tokenizer": "tokenizer_digest", "precision": "chosen.precision"}
    return {fact: run.params[param] for fact, param in earlier.items() if param in run.params} | run.facts


def _named(facts: Mapping[str, str]) -> dict[str, str]:
    return {f"{FACTS}{name}": value for name, value in facts.items()}


def _without_implied(factor: Factor, found: list[Confound]) -> list[Confound]:
    """Those that nothing else among them, and not the factor itself, implies."""
    differing = {confound.key.removeprefix(FACTS) for confound in found}

    def is_implied(key: str) -> bool:
        fact = key.removeprefix(FACTS)
        causes = IMPLIED.get(fact, ())
        return factor.owns(fact) or any(cause in differing or factor.owns(cause) for cause in causes)

    return [confound for confound in found if not (confound.key.startswith(FACTS) and is_implied(confound.key))]


def _compare_costs(
    factor: Factor,
    level: str,
    baseline: str,
    pairs: Sequence[tuple[str, str]],
    costs: Mapping[str, Mapping[str, float]],
) -> list[Confound]:
    """The costs whose medians over the pairs differ by more than their tolerance."""
    found = []
    for key in COSTS:
        both = [(a, b) for a, b in pairs if key in costs[a] and key in costs[b]]
        if not both:
            continue
        value, reference = (median(costs[pair[side]][key] for pair in both) for side in (0, 1))
        if reference and abs(value / reference - 1) > TOLERANCE[key]:
            found.append(
                Confound(factor.name, level, baseline, key, value, reference, True, len(both), len(pairs), both[0])
            )
    return found


def _compare(
    factor: Factor,
    level: str,
    baseline: str,
    pairs: list[tuple[str, str]],
    facts: Mapping[str, Mapping[str, Any]],
) -> list[Confound]:
    differing: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        a, b = (facts[run_id] for run_id in pair)
        for key in a.keys() | b.keys():
            if not factor.owns(key) and fingerprint(a, key) != fingerprint(b, key):
                differing.setdefault(key, []).append(pair)
    return [
        Confound(
            factor=factor.name,
            level=level,
            baseline=baseline,
            key=key,
            value=facts[where[0][0]].get(key, ABSENT),
            baseline_value=facts[where[0][1]].get(key, ABSENT),
            varies=len({(fingerprint(facts[a], key), fingerprint(facts[b], key)) for a, b in where}) > 1,
            num_differing=len(where),
            num_pairs=len(pairs),
            pair=where[0],
        )
        for key, where in sorted(differing.items())
    ]


def unplanned(
    runs: Sequence["RunRecord"],
    configs: Mapping[str, Mapping[str, Any]],
    factors: Sequence[Factor],
    volatile: Iterable[str] = (),
) -> dict[str, dict[str, str]]:
    """Keys that differ between runs of one and the same combination, though nobody swept them.

    Happens when a setting is changed between two sweeps into the same study. Such runs must not be averaged. Facts
    count as well (other data or another precision under the same config), except where all runs of a seed agree: a
    study that was grown by seeds elsewhere still compares within seeds.

    Returns:
        For each such key its value as a label, by run id.
    """
    is_volatile = below(volatile)
    known = [run for run in runs if run.run_id in configs]
    facts = {run.run_id: {**_named(facts_of(run)), **flatten(configs[run.run_id])} for run in known}
    cell = {run.run_id: tuple(factor.level[run.run_id] for factor in factors) for run in known}
    found = {}
    for key in sorted({key for flat in facts.values() for key in flat}):
        values = {(cell[run.run_id], fingerprint(facts[run.run_id], key)) for run in known}
        if is_volatile(key) or len(values) == len(set(cell.values())):
            continue
        if key.startswith(FACTS) and _is_of_the_seed(key, known, facts):
            continue
        if not all(_is_seed(facts[run.run_id].get(key), run.seed) for run in known):
            found[key] = {run.run_id: label_of(facts[run.run_id].get(key, ABSENT)) for run in known}
    return {key: labels for key, labels in found.items() if not _is_implied(key, found)}


def between_seeds(runs: Sequence["RunRecord"]) -> dict[str, dict[str, list[int | None]]]:
    """Facts that are the same for all runs of a seed and differ between seeds: by value, the seeds that have it."""
    facts = {run.run_id: _named(facts_of(run)) for run in runs}
    found = {}
    for key in dict.fromkeys(key for own in facts.values() for key in own):
        values: dict[str, list[int | None]] = {}
        for run in runs:
            seeds = values.setdefault(facts[run.run_id].get(key, ABSENT), [])
            if run.seed not in seeds:
                seeds.append(run.seed)
        if len(values) > 1 and _is_of_the_seed(key, runs, facts):
            found[key] = values
    return {key: values for key, values in found.items() if not _is_implied(key, found)}


def _is_implied(key: str, found: Iterable[str]) -> bool:
    causes = IMPLIED.get(key.removeprefix(FACTS), ()) if key.startswith(FACTS) else ()
    return any(f"{FACTS}{cause}" in found or cause in found for cause in causes)


def _is_of_the_seed(key: str, runs: Sequence["RunRecord"], facts: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether all runs of a seed agree, so that no comparison, each of which is within a seed, mixes values."""
    values = {(run.seed, fingerprint(facts[run.run_id], key)) for run in runs}
    return len(values) == len({run.seed for run in runs})


def sizes(run: "RunRecord") -> dict[str, float]:
    """The recorded parameter counts of a run."""
    recorded = {key: float(run.params[key]) for key in SIZES if key in run.params}
    return recorded | {key: run.metrics[key] for key in SIZES if key in run.metrics}


def _besides(run: "RunRecord") -> dict[str, Any]:
    """What a run has besides its config: sizes, versions of plugin files (each is a key of its group), and facts."""
    code = {key: value for key, value in run.params.items() if key.endswith(PLUGIN_DIGEST)}
    return {**sizes(run), **code, **_named(facts_of(run))}


def _is_seed(value: Any, seed: int | None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == seed
