"""What a study varies: its factors, their levels, and which run has which."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.groups import GROUPS
from lightning_tx.studies.keys import ABSENT, below, label_of, one_spelling, value_at

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord
    from lightning_tx.tracking.study import Row

#: Between the names, and the levels, of factors that always changed together.
JOINT = " + "
_DIGEST_CHARACTERS = 8


@dataclass(frozen=True)
class Factor:
    """One thing that a study varies.

    Attributes:
        name: how it is called, e.g. ``positions`` or ``adapter.rank``.
        keys: the choices and options it stands for; several where an option exists in some choices only.
        levels: its levels in the order in which the sweep ran them; the first is the baseline unless told.
        level: the level of every run, by run id.
        aliased: the factors that always changed together and are this one; empty for a single factor.
        unread: the runs that do not read this choice, such as a pattern without attention; they have its first level,
            as they would be the same runs with any other.
    """

    name: str
    keys: tuple[str, ...]
    levels: tuple[str, ...]
    level: Mapping[str, str]
    aliased: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()

    def owns(self, key: str) -> bool:
        """Whether a key of the resolved config is this factor's own, e.g. ``positions.base`` of ``positions``."""
        return any(key == own or key.startswith(own + ".") for own in self.keys)


def in_order(runs: Iterable["RunRecord"], rows: Sequence["Row"] = ()) -> list["RunRecord"]:
    """The runs in the order in which they were asked for, so that no level is first because its run started first.

    Runs that nobody asked for follow in the order in which they started; those without a start come last.
    """
    place: dict[str, int] = {}
    for row in rows:
        place.setdefault(row.identity, len(place))
    never = datetime.max.replace(tzinfo=UTC)
    return sorted(runs, key=lambda run: (place.get(run.identity, len(place)), run.start_time or never))


def find_factors(
    runs: Sequence["RunRecord"],
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    ignored: Iterable[str] = (),
) -> list[Factor]:
    """The group choices and swept options that take more than one value over the runs; the seed is none of them.

    Levels are the values of the resolved configs, however they were written on the command line. An option below a
    choice that varies too joins that choice where it cannot be compared at equal values (a rank beside
    ``adapter=none``, key/value heads that only ``gqa`` has a number of): levels are then ``none``, ``lora rank=8``,
    ``lora rank=16``. So does the version of a plugin file that was changed between sweeps, whose component is one level
    for each version. Factors that always changed together are one, for their effects cannot be told apart.

    Args:
        runs: every run of the study, whatever became of it, in order; their ``choices`` hold group choices and swept
            options.
        configs: resolved configs by run id; the text of a choice counts where there is none.
        ignored: keys that are no factors although they vary (where things are stored, how they are logged).
    """
    configs = configs or {}
    is_ignored = below(["seed", *ignored])
    keys = {key for run in runs for key in run.choices if not is_ignored(key)}
    unread = {key: frozenset(run.run_id for run in runs if _is_unread(run, key)) for key in keys}
    levels = {
        key: {run.run_id: _level(run, key, configs.get(run.run_id)) for run in runs if run.run_id not in unread[key]}
        for key in keys
    }
    for key, level in levels.items():
        first = next(iter(level.values()), ABSENT)
        levels[key] = {run.run_id: level.get(run.run_id, first) for run in runs}
    varied = {key: level for key, level in levels.items() if len(set(level.values())) > 1}
    owners = {key: owner for key in varied if (owner := _choice_it_belongs_to(key, varied)) is not None}
    for key in sorted({key for run in runs for key in run.params if key.endswith(names.PLUGIN_DIGEST)}):
        group = key.removesuffix(names.PLUGIN_DIGEST)
        version = {run.run_id: run.params.get(key, ABSENT)[:_DIGEST_CHARACTERS] for run in runs}
        label = varied.get(group, {})
        if len({(label[run_id], version[run_id]) for run_id in label}) > len(set(label.values())):
            varied[key], owners[key] = version, group
    return _joined(
        [
            _factor(
                key, [child for child in sorted(owners) if owners[child] == key], varied, unread.get(key, frozenset())
            )
            for key in sorted(varied, key=_place)
            if key not in owners
        ]
    )


def _is_unread(run: "RunRecord", key: str) -> bool:
    """Whether nothing in a run reads a choice or an option, as was found before it was trained."""
    unread = run.tags.get(names.UNREAD, "").split(",")
    return key in unread or key.partition(".")[0] in unread


def _level(run: "RunRecord", key: str, config: Mapping[str, Any] | None) -> str:
    asked = run.choices.get(key)
    value = ABSENT if config is None else value_at(config, key)
    # Choices of a group are called by their label, and whatever there is no config of by what was written.
    if asked is not None and (config is None or "." not in key):
        return asked if key in GROUPS else one_spelling(asked)
    if "." not in key and isinstance(value, Mapping):
        return label_of(value.get("name", value))
    return label_of(value)


def choose_baselines(factors: Sequence[Factor], wanted: Mapping[str, str] | None = None) -> dict[str, str]:
    """The baseline of every factor: the level asked for, else the factor's first.

    A factor that is several in one takes the level of any of them.

    Raises:
        ConfigError: a baseline for an unknown factor, or one that is not a level of its factor.
    """
    levels_of = {factor.name: {level: level for level in factor.levels} for factor in factors}
    owners = {factor.name: factor.name for factor in factors}
    for factor in factors:
        for place, name in enumerate(factor.aliased):
            levels_of[name] = {level.split(JOINT)[place]: level for level in factor.levels}
            owners[name] = factor.name
    chosen: dict[str, str] = {}
    problems = []
    for name, text in (wanted or {}).items():
        where, levels = f"baselines.{name}", levels_of.get(name, {})
        level = text if text in levels else one_spelling(text)
        if name not in levels_of:
            problems.append(
                f"{where}: the study varies no such thing.{nearest(name, levels_of)} Factors: {choices(levels_of)}."
            )
        elif level not in levels:
            problems.append(
                f"{where}: {text!r} is none of its levels.{nearest(text, levels)} Levels: {choices(levels)}."
            )
        elif chosen.setdefault(owners[name], levels[level]) != levels[level]:
            problems.append(
                f"{where}: {text!r} was never run beside another baseline that is asked for; the levels of "
                f"{owners[name]} are: {choices(levels_of[owners[name]])}."
            )
    if problems:
        raise ConfigError(problems)
    return {factor.name: chosen.get(factor.name, factor.levels[0]) for factor in factors}


def _choice_it_belongs_to(key: str, varied: Mapping[str, Mapping[str, str]]) -> str | None:
    """The varied choice beside which alone an option means something; None where it can be compared at equal values.

    That is so where one of the choices does not have the option at all, or shares none of its values with the others.
    """
    parts = key.split(".")
    parent = next((above for end in range(1, len(parts)) if (above := ".".join(parts[:end])) in varied), None)
    if parent is None:
        return None
    values: dict[str, set[str]] = {}
    for run_id, label in varied[parent].items():
        values.setdefault(label, set()).add(varied[key][run_id])
    if any(ABSENT in own for own in values.values()):
        return parent
    for label, own in values.items():
        others = set().union(*(other for name, other in values.items() if name != label))
        if own.isdisjoint(others):
            return parent
    return None


def _factor(key: str, children: list[str], varied: Mapping[str, Mapping[str, str]], unread: frozenset[str]) -> Factor:
    """A choice with the options that belong to it, each named only where its choice has several values of it."""
    values: dict[tuple[str, str], set[str]] = {}
    for run_id, label in varied[key].items():
        for child in children:
            values.setdefault((label, child), set()).add(varied[child][run_id])
    level = {
        run_id: " ".join(
            [label]
            + [
                f"{child.removeprefix(key + '.')}={varied[child][run_id]}"
                for child in children
                if len(values[label, child]) > 1
            ]
        )
        for run_id, label in varied[key].items()
    }
    return Factor(key, (key, *children), tuple(dict.fromkeys(level.values())), level, unread=unread)


def _place(key: str) -> tuple[int, str]:
    """Groups in the order in which a model is described, then options by name."""
    order = list(GROUPS)
    return (order.index(key) if key in order else len(order), key)


def _joined(factors: list[Factor]) -> list[Factor]:
    """The factors, those whose levels changed together in every run as one."""
    groups: dict[frozenset[frozenset[str]], list[Factor]] = {}
    for factor in factors:
        runs_of: dict[str, set[str]] = {}
        for run_id, level in factor.level.items():
            runs_of.setdefault(level, set()).add(run_id)
        groups.setdefault(frozenset(map(frozenset, runs_of.values())), []).append(factor)
    return [members[0] if len(members) == 1 else _joint(members) for members in groups.values()]


def _joint(members: Sequence[Factor]) -> Factor:
    level = {run_id: JOINT.join(member.level[run_id] for member in members) for run_id in members[0].level}
    return Factor(
        name=JOINT.join(member.name for member in members),
        keys=tuple(key for member in members for key in member.keys),
        levels=tuple(dict.fromkeys(level.values())),
        level=level,
        aliased=tuple(member.name for member in members),
        unread=frozenset().union(*(member.unread for member in members)),
    )
