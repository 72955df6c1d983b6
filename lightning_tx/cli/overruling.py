"""Choices that say one thing, and others that take it back: experiments, and presets that set keys of other groups."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from lightning_tx.cli.experiments import EXPERIMENT
from lightning_tx.core.schema import schema
from lightning_tx.groups import GROUPS
from lightning_tx.studies.keys import label_of


def overruled(
    config: Mapping[str, Any],
    chosen: Mapping[str, Any],
    overrides: Sequence[Override],
    contents: Callable[[str, str], Mapping[str, Any]],
) -> list[str]:
    """What choices on the command line say, and other choices, whose keys are set later, take back.

    A choice says what its file sets to something else than the component's own default: a preset's sizes, and not the
    fraction for validation that every data set has.

    Args:
        config: the plain config of a run.
        chosen: the label of each group.
        overrides: those of the run.
        contents: looks up the content of a choice's file, by group and label.

    Returns:
        One sentence a choice, and one an option that the others set for a component that does not have it; none where
        the command line sets or deletes these keys itself.
    """
    groups = {line.key_or_group for line in overrides if not line.is_delete()} & set(GROUPS)
    # Setting a key below an option sets the option.
    own_keys = {".".join(line.key_or_group.split(".")[:2]) for line in overrides}
    experiment = chosen.get(EXPERIMENT)
    other = f"experiment={experiment}" if experiment is not None else "another choice"
    problems = []
    for group in sorted(groups):
        label, values = chosen.get(group), config.get(group)
        if label is None or not isinstance(values, Mapping):
            continue
        problems += [
            f"{group}: {label!r} has no {key}, which {other} sets for others; leave it out by ~{group}.{key}."
            for key in _of_others(group, values)
            if f"{group}.{key}" not in own_keys
        ]
        lost = {
            key: value
            for key, value in _says(group, contents(group, label)).items()
            if values.get(key) != value and f"{group}.{key}" not in own_keys
        }
        if lost:
            says = ", ".join(f"{group}.{key}={label_of(value)}" for key, value in lost.items())
            sets = ", ".join(label_of(values.get(key)) for key in lost)
            problems.append(
                f"{group}: {label!r} says {says}, but {other} makes it {sets}; say on the command line which it is."
            )
    return problems


def _of_others(group: str, values: Mapping[str, Any]) -> list[str]:
    """The options that a component does not have, and others of its group have."""
    if values.get("name") not in GROUPS[group].names():
        return []
    strange = [
        key for key in values if key != "name" and key not in schema(GROUPS[group].get(values["name"])).model_fields
    ]
    others = [schema(GROUPS[group].get(name)).model_fields for name in GROUPS[group].names()] if strange else []
    return [key for key in strange if any(key in options for options in others)]


def _says(group: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a file of a group sets to something else than the component's default."""
    if content.get("name") not in GROUPS[group].names():
        return {}
    options = schema(GROUPS[group].get(content["name"])).model_fields
    return {
        key: value
        for key, value in content.items()
        if key in options and not options[key].is_required() and options[key].default != value
    }
