"""What differs between runs besides what was meant to differ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_tx.ablation.factors import PLUGIN_DIGEST, Factor
from lightning_tx.ablation.keys import ABSENT, below, fingerprint, flatten, label_of

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

#: Sizes that a factor may change unasked: a variant with more parameters is not only another variant.
SIZES = ("params/total", "params/trainable", "params/active")


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
    facts = {
        run.run_id: {
            key: value
            for key, value in {**flatten(configs[run.run_id]), **sizes(run), **_code(run)}.items()
            if not is_volatile(key) and key != "seed"
        }
        for run in runs
        if run.run_id in configs
    }
    known = [run for run in runs if run.run_id in facts]
    place_of: dict[tuple[str | int | None, ...], str] = {
        (*(factor.level[run.run_id] for factor in factors), run.seed): run.run_id for run in known
    }
    found = []
    for column, factor in enumerate(factors):
        baseline = (baselines or {}).get(factor.name, factor.levels[0])
        for level in factor.levels:
            pairs = [
                (run_id, place_of[partner])
                for place, run_id in place_of.items()
                if place[column] == level != baseline
                and (partner := (*place[:column], baseline, *place[column + 1 :])) in place_of
            ]
            found += _compare(factor, level, baseline, pairs, facts)
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

    Happens when a setting is changed between two sweeps into the same study. Such runs must not be averaged.
    Digests of data and tokenizer among the run's parameters count as well: other data under the same config.

    Returns:
        For each such key its value as a label, by run id.
    """
    is_volatile = below(volatile)
    facts = {
        run.run_id: {**{k: v for k, v in run.params.items() if "digest" in k}, **flatten(configs[run.run_id])}
        for run in runs
        if run.run_id in configs
    }
    known = [run for run in runs if run.run_id in facts]
    cell = {run.run_id: tuple(factor.level[run.run_id] for factor in factors) for run in known}
    found = {}
    for key in sorted({key for flat in facts.values() for key in flat}):
        values = {(cell[run.run_id], fingerprint(facts[run.run_id], key)) for run in known}
        if is_volatile(key) or len(values) == len(set(cell.values())):
            continue
        if not all(_is_seed(facts[run.run_id].get(key), run.seed) for run in known):
            found[key] = {run.run_id: label_of(facts[run.run_id].get(key, ABSENT)) for run in known}
    return found


def sizes(run: "RunRecord") -> dict[str, float]:
    """The recorded parameter counts of a run."""
    recorded = {key: float(run.params[key]) for key in SIZES if key in run.params}
    return recorded | {key: run.metrics[key] for key in SIZES if key in run.metrics}


def _code(run: "RunRecord") -> dict[str, str]:
    """Which versions of plugin files the components came from; each is a key of its group."""
    return {key: value for key, value in run.params.items() if key.endswith(PLUGIN_DIGEST)}


def _is_seed(value: Any, seed: int | None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == seed
