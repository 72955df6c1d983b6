"""What a study varies: its factors, their levels, and which run has which."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lightning_tx.ablation.keys import ABSENT, below, label_of, one_spelling
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.core.registry import GROUPS

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

#: Ends the parameter that tells which version of a plugin file a group's component came from.
PLUGIN_DIGEST = ".plugin_digest"
_DIGEST_CHARACTERS = 8


@dataclass(frozen=True)
class Factor:
    """One thing that a study varies.

    Attributes:
        name: how it is called, e.g. ``positions`` or ``adapter.rank``.
        keys: the choices and options it stands for; several where an option exists in some choices only.
        levels: its levels in the order in which the sweep ran them; the first is the baseline unless told.
        level: the level of every run, by run id.
    """

    name: str
    keys: tuple[str, ...]
    levels: tuple[str, ...]
    level: Mapping[str, str]

    def owns(self, key: str) -> bool:
        """Whether a key of the resolved config is this factor's own, e.g. ``positions.base`` of ``positions``."""
        return any(key == own or key.startswith(own + ".") for own in self.keys)


def in_order(runs: Iterable["RunRecord"]) -> list["RunRecord"]:
    """The runs in the order in which they started; those without a start come last."""
    return sorted(runs, key=lambda run: run.start_time or datetime.max.replace(tzinfo=UTC))


def find_factors(
    runs: Sequence["RunRecord"],
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    ignored: Iterable[str] = (),
) -> list[Factor]:
    """The group choices and swept options that take more than one value over the runs; the seed is none of them.

    An option that one sweep of the study varied and another left alone is looked up in the resolved config. Where it
    does not exist there either (a rank beside ``adapter=none``), it joins the choice it belongs to, whose levels
    become ``none``, ``lora rank=8``, ``lora rank=16``: beside a choice that has no rank, rank has no effect of its own.
    So does the version of a plugin file that was changed between sweeps, whose component is one level for each version.

    Args:
        runs: every run of the study, whatever became of it; their ``choices`` hold group choices and swept options.
        configs: resolved configs by run id.
        ignored: keys that are no factors although they vary (where things are stored, how they are logged).
    """
    runs = in_order(runs)
    configs = configs or {}
    is_ignored = below(["seed", *ignored])
    keys = {key for run in runs for key in run.choices if not is_ignored(key)}
    levels = {key: {run.run_id: _level(run, key, configs.get(run.run_id, {})) for run in runs} for key in keys}
    varied = {key: level for key, level in levels.items() if len(set(level.values())) > 1}
    owners = {key: owner for key in varied if (owner := _choice_it_exists_in(key, varied)) is not None}
    for key in sorted({key for run in runs for key in run.params if key.endswith(PLUGIN_DIGEST)}):
        group = key.removesuffix(PLUGIN_DIGEST)
        version = {run.run_id: run.params.get(key, ABSENT)[:_DIGEST_CHARACTERS] for run in runs}
        label = varied.get(group, {})
        if len({(label[run_id], version[run_id]) for run_id in label}) > len(set(label.values())):
            varied[key], owners[key] = version, group
    return [
        _factor(key, [child for child in sorted(owners) if owners[child] == key], varied)
        for key in sorted(varied, key=_place)
        if key not in owners
    ]


def _level(run: "RunRecord", key: str, config: Mapping[str, Any]) -> str:
    if key in run.choices:
        return one_spelling(run.choices[key])
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return ABSENT
        value = value[part]
    return label_of(value)


def choose_baselines(factors: Sequence[Factor], wanted: Mapping[str, str] | None = None) -> dict[str, str]:
    """The baseline of every factor: the level asked for, else the factor's first.

    Raises:
        ConfigError: a baseline for an unknown factor, or one that is not a level of its factor.
    """
    levels = {factor.name: factor.levels for factor in factors}
    problems = []
    for name, level in (wanted or {}).items():
        where = f"baselines.{name}"
        if name not in levels:
            problems.append(
                f"{where}: the study varies no such thing.{nearest(name, levels)} Factors: {choices(levels)}."
            )
        elif level not in levels[name]:
            known = levels[name]
            problems.append(
                f"{where}: {level!r} is none of its levels.{nearest(level, known)} Levels: {choices(known)}."
            )
    if problems:
        raise ConfigError(problems)
    return {name: known[0] for name, known in levels.items()} | dict(wanted or {})


def _choice_it_exists_in(key: str, varied: Mapping[str, Mapping[str, str]]) -> str | None:
    """The varied choice that decides whether an option exists at all."""
    parent, _, option = key.rpartition(".")
    if not option or parent not in varied or ABSENT not in varied[key].values():
        return None
    return parent


def _factor(key: str, children: list[str], varied: Mapping[str, Mapping[str, str]]) -> Factor:
    level = {
        run_id: " ".join(
            [label]
            + [
                f"{child.rpartition('.')[2]}={value}"
                for child in children
                if (value := varied[child][run_id]) != ABSENT
            ]
        )
        for run_id, label in varied[key].items()
    }
    return Factor(key, (key, *children), tuple(dict.fromkeys(level.values())), level)


def _place(key: str) -> tuple[int, str]:
    """Groups in the order in which a model is described, then options by name."""
    order = list(GROUPS)
    return (order.index(key) if key in order else len(order), key)
