"""What differs between runs besides what was meant to differ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_tx.core import names
from lightning_tx.studies.factors import Factor
from lightning_tx.studies.facts import DATA, as_keys, causes_among, is_fact, is_of, is_of_the_seed
from lightning_tx.studies.keys import ABSENT, below, fingerprint, flatten, label_of

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

#: Sizes that a factor may change unasked: a variant with more parameters is not only another variant.
SIZES = (names.TOTAL_PARAMETERS, names.TRAINABLE_PARAMETERS, names.ACTIVE_PARAMETERS)
#: What a run cost besides; the last one is measured, and noisy.
TOKENS, FLOPS, SECONDS = COSTS = (names.TRAINED_TOKENS, names.TOTAL_FLOPS, names.TRAIN_SECONDS)
#: A shorter training is start-up rather than training.
LEAST_SECONDS = 10.0
#: Seconds, or speeds, of runs of one kind that differ by more than this were not measured under equal conditions.
STEADY = 1.2
#: Costs closer than this share are equal.
TOLERANCE = {TOKENS: 0.001, FLOPS: 0.01, SECONDS: 0.1}


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
        key: a dotted key of the config, a fact (``facts.precision``), or one of ``SIZES`` and ``COSTS``.
        value: what the runs with the level have, in the first pair that differs; of ``COSTS`` the median.
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
    costs = {run.run_id: _costs(run) for run in known}
    found = []
    for column, factor in enumerate(factors):
        baseline = (baselines or {}).get(factor.name, factor.levels[0])
        for level, pairs in pairs_of(known, factors, column, baseline).items():
            found += _compare(factor, level, baseline, pairs, facts)
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


def _compare_costs(
    factor: Factor,
    level: str,
    baseline: str,
    pairs: Sequence[tuple[str, str]],
    costs: Mapping[str, Mapping[str, tuple[float, Any]]],
) -> list[Confound]:
    """The costs whose medians over the pairs differ by more than their tolerance."""
    found = []
    for key in COSTS:
        # How a cost was measured goes with it: seconds of two devices are not compared.
        both = [
            pair
            for pair in pairs
            if all(key in costs[run_id] for run_id in pair) and costs[pair[0]][key][1] == costs[pair[1]][key][1]
        ]
        if not both:
            continue
        sides = [[costs[pair[side]][key][0] for pair in both] for side in (0, 1)]
        value, reference = map(median, sides)
        if key == SECONDS and any(max(side) > STEADY * min(side) for side in sides):
            continue  # the machine was busier for some runs than for others
        if reference and abs(value / reference - 1) > TOLERANCE[key]:
            found.append(
                Confound(
                    factor=factor.name,
                    level=level,
                    baseline=baseline,
                    key=key,
                    value=value,
                    baseline_value=reference,
                    varies=len({(costs[a][key][0], costs[b][key][0]) for a, b in both}) > 1,
                    num_differing=len(both),
                    num_pairs=len(pairs),
                    pair=both[0],
                )
            )
    return found


def _costs(run: "RunRecord") -> dict[str, tuple[float, Any]]:
    """What a run cost, each with the facts that it depends on besides what was trained."""
    found: dict[str, tuple[float, Any]] = {
        key: (run.metrics[key], None) for key in (TOKENS, FLOPS) if key in run.metrics
    }
    seconds = run.metrics.get(SECONDS, 0.0)
    if seconds >= LEAST_SECONDS:
        found[SECONDS] = seconds, (run.facts.get("device"), run.facts.get("threads"))
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
        keys = {key for key in a.keys() | b.keys() if not factor.owns(key) and _differs(a, b, key)}
        for key in keys:
            # Another path, or another number of examples, does not say that the data are others, nor that they are not.
            if not is_of(factor, key) and (key == f"{names.FACTS}{DATA}" or not causes_among(key, keys)):
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


def _differs(a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> bool:
    """Whether two runs differ in a key; in a fact only where it is known of both."""
    if is_fact(key) and (key not in a or key not in b):
        return False
    return fingerprint(a, key) != fingerprint(b, key)


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
    facts: dict[str, dict[str, Any]] = {run.run_id: {**as_keys(run), **flatten(configs[run.run_id])} for run in known}
    cell = {run.run_id: tuple(factor.level[run.run_id] for factor in factors) for run in known}
    found: dict[str, dict[str, str]] = {}
    for key in sorted({key for flat in facts.values() for key in flat}):
        compared = [run for run in known if key in facts[run.run_id]] if is_fact(key) else known
        values = {(cell[run.run_id], fingerprint(facts[run.run_id], key)) for run in compared}
        if is_volatile(key) or len(values) == len({levels for levels, _ in values}):
            continue
        if is_fact(key) and is_of_the_seed(key, compared, facts):
            continue
        if not all(_is_seed(facts[run.run_id].get(key), run.seed) for run in known):
            found[key] = {run.run_id: label_of(facts[run.run_id].get(key, ABSENT)) for run in known}
    return {key: labels for key, labels in found.items() if not _follows(key, found)}


def _follows(key: str, found: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether the value of a fact is settled by the values of those keys that it follows from."""
    causes = causes_among(key, found)
    by_cause = {(tuple(found[cause][run_id] for cause in causes), value) for run_id, value in found[key].items()}
    return bool(causes) and len(by_cause) == len({values for values, _ in by_cause})


def sizes(run: "RunRecord") -> dict[str, float]:
    """The recorded parameter counts of a run."""
    recorded = {key: float(run.params[key]) for key in SIZES if key in run.params}
    return recorded | {key: run.metrics[key] for key in SIZES if key in run.metrics}


def _besides(run: "RunRecord") -> dict[str, Any]:
    """What a run has besides its config: sizes, versions of plugin files (each is a key of its group), and facts."""
    code = {key: value for key, value in run.params.items() if key.endswith(names.PLUGIN_DIGEST)}
    return {**sizes(run), **code, **as_keys(run)}


def _is_seed(value: Any, seed: int | None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == seed
