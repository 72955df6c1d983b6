"""The sentences on what limits a comparison: what differs besides the factors, and how the runs came about."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_tx.ablation.confounds import SIZES, Confound
from lightning_tx.ablation.factors import Factor
from lightning_tx.ablation.formatting import amount, decimals_for, listed, number, percent
from lightning_tx.ablation.keys import ABSENT, label_of
from lightning_tx.ablation.spread import UnevenSpread
from lightning_tx.ablation.statistics import Effect
from lightning_tx.tracking import tags

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

#: So many keys are named in one sentence; the rest is counted.
MOST_KEYS = 4
#: So many characters of a value are shown.
LONGEST_VALUE = 40

_SIZE_NAMES: dict[str, str] = dict(zip(SIZES, ("parameters", "trainable parameters", "active parameters"), strict=True))


def differences(found: Sequence[Confound]) -> list[str]:
    """What differs besides the factors: a sentence on sizes and one on settings, for all levels that share it."""
    levels: dict[tuple[str, str, str], list[Confound]] = {}
    for confound in found:
        levels.setdefault((confound.factor, confound.level, confound.baseline), []).append(confound)
    sentences: dict[tuple[str, str, str], list[str]] = {}
    for (factor, level, baseline), members in levels.items():
        sizes = _distinct_sizes([confound for confound in members if confound.key in SIZES])
        if sizes:
            text = listed(_size(confound, baseline) for confound in sizes)
            sentences.setdefault((factor, "", text), []).append(level)
        settings = [confound for confound in members if confound.key not in SIZES]
        if settings:
            sentences.setdefault((factor, baseline, _settings(settings)), []).append(level)
    return [
        f"{factor}={listed(names)} against {baseline} also differ{'s' if len(names) == 1 else ''} in {text}."
        if baseline
        else f"{factor}={listed(names)} {'has' if len(names) == 1 else 'have'} {text}."
        for (factor, baseline, text), names in sentences.items()
    ]


def _distinct_sizes(sizes: Sequence[Confound]) -> list[Confound]:
    """Total, trainable and active parameters are mostly the same number: it is said once."""
    kept: dict[tuple[Any, Any], Confound] = {}
    for confound in sorted(sizes, key=lambda confound: SIZES.index(confound.key)):
        kept.setdefault((confound.value, confound.baseline_value), confound)
    return list(kept.values())


def _size(confound: Confound, baseline: str) -> str:
    name = _SIZE_NAMES[confound.key]
    if ABSENT in (confound.value, confound.baseline_value):
        return f"no comparable count of {name}"
    example = "e.g. " if confound.varies else ""
    numbers = f"{example}{amount(confound.value)} against {amount(confound.baseline_value)}"
    way = "more" if confound.value > confound.baseline_value else "fewer"
    if not confound.baseline_value:
        return f"more {name} than {baseline} ({numbers})"
    change = percent(confound.value, confound.baseline_value).lstrip("+-")
    return f"{change} {way} {name} than {baseline} ({numbers})"


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
    return f"{confound.key} ({shown(confound.value)} instead of {shown(confound.baseline_value)}{partly})"


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
        texts.append(f"{key} ({', '.join(values)})")
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
    commits = _values(used, tags.GIT_COMMIT)
    if len(commits) > 1:
        sentences.append(f"The runs come from {len(commits)} versions of the code: {_some(commits, 8)}.")
    resumed = sum(tags.CODE_CHANGED in run.tags for run in used)
    if resumed:
        sentences.append(f"{_runs(resumed)} changed code when resumed.")
    hosts = _values(used, tags.HOST)
    if len(hosts) > 1:
        sentences.append(f"The runs come from {len(hosts)} machines ({_some(hosts, 20)}): tokens/s may not compare.")
    unknown = sum(run.run_id not in configs for run in used)
    if unknown:
        sentences.append(f"{_runs(unknown)} without a recorded config could not be checked for other differences.")
    return sentences


def _values(runs: Sequence["RunRecord"], tag: str) -> list[str]:
    return list(dict.fromkeys(run.tags[tag] for run in runs if tag in run.tags))


def _some(values: Sequence[str], length: int) -> str:
    names = [value[:length] for value in values[:MOST_KEYS]]
    return listed([*names, f"{len(values) - MOST_KEYS} more"] if len(values) > MOST_KEYS else names)


def uneven(spread: UnevenSpread | None, columns: Sequence[Factor]) -> list[str]:
    """A combination that varies far more between seeds than the others."""
    if spread is None:
        return []
    name = " ".join(f"{column.name}={level}" for column, level in zip(columns, spread.cell, strict=True))
    decimals = decimals_for([spread.spread, spread.others])
    return [
        f"{name} varies far more between seeds than the rest ({number(spread.spread, decimals)} against "
        f"{number(spread.others, decimals)}): it widens every interval. Leave it out to see the others sharper."
    ]


def seeds_without_spread(found: Sequence[Effect]) -> list[str]:
    """Effects that are the same to the last digit for every seed."""
    if any(effect.settled and effect.low == effect.high for effect in found):
        return ["Differences are the same to the last digit for every seed: check what the seed changes."]
    return []
