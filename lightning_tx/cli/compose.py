"""Hydra's language turned into plain data: the config of a run, from overrides as on the command line."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, open_dict

from lightning_tx.cli.experiments import EXPERIMENT, refuse_unread
from lightning_tx.cli.grammar import is_choice, parse
from lightning_tx.cli.overruling import overruled
from lightning_tx.cli.plugins import plugins_of
from lightning_tx.cli.search_path import CONFIG_GROUPS, joined
from lightning_tx.cli.session import hydra_session
from lightning_tx.cli.translation import translated
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.groups import GROUPS

CONFIG = "config"
#: Of the wrong choices of one group so many are told.
MOST_TOLD = 10


def compose(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plain config of one run, from overrides as on the command line.

    >>> compose(["positions=alibi", "model.num_layers=2"])

    Raises:
        ConfigError: an override is not understood, or names a choice that does not exist.
    """
    with understood(overrides) as parsed:
        refuse_choices(parsed)
        refuse(several_values(parsed))
        config = configured(parsed)
        chosen = config.hydra.runtime.choices
        refuse_unread(config, chosen)
        values = plain(config)
        refuse(overruled(values, chosen, parsed, values_of))
        return values


@contextmanager
def understood(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> Iterator[list[Override]]:
    """Overrides as Hydra understands them, in a session that knows the plugin files that they list.

    Raises:
        ConfigError: an override cannot be understood, or with the problem of each plugin file.
    """
    with plugins_of(overrides), joined([Path(folder) for folder in config_dirs]), hydra_session():
        yield parse(overrides)


def configured(overrides: Sequence[Override]) -> DictConfig:
    """The config of overrides that have one value each, as Hydra composes it; a session must be open."""
    config = composed([line_of(override) for override in overrides if composes(override)])
    set_values(config, [override for override in overrides if not composes(override)])
    return config


def composed(lines: Sequence[str]) -> DictConfig:
    """What Hydra composes from choices, with its own part, unresolved; a session must be open."""
    with translated():
        return hydra_compose(CONFIG, overrides=list(lines), return_hydra_config=True)


def composes(override: Override) -> bool:
    """Whether an override has a say in what is composed."""
    return is_choice(override.key_or_group)


def set_values(config: DictConfig, overrides: Iterable[Override]) -> None:
    """Set the values of overrides in a composed config, in place and in their order, as Hydra does.

    A key that does not exist is let through: the check names all unknown keys at once.

    Raises:
        ConfigError: a value cannot be set, or what is to be deleted is not there.
    """
    with translated():
        for override in overrides:
            key = override.key_or_group
            if override.package is not None:
                raise ConfigError(f"{override.get_key_element()}: there is no group {key!r}.")
            if override.is_delete():
                _delete(config, key, override.value())
            else:
                OmegaConf.update(config, key, override.value(), merge=True, force_add=True)


def _delete(config: DictConfig, key: str, value: Any) -> None:
    present = OmegaConf.select(config, key, throw_on_missing=False)
    if present is None:
        raise ConfigError(f"~{key}: there is no value to delete.")
    if value is not None and value != present:
        raise ConfigError(f"~{key}: its value is {present}, not {value}; nothing is deleted.")
    parent, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(config, parent) if parent else config
    with open_dict(config):
        del node[name]


def line_of(override: Override) -> str:
    """The line that an override was parsed from."""
    assert override.input_line is not None
    return override.input_line


def refuse(problems: Sequence[str]) -> None:
    """Raise an error if there are problems."""
    if problems:
        raise ConfigError(problems)


def several_values(overrides: Iterable[Override]) -> list[str]:
    """The problem of every override that has several values where one is asked for."""
    return [
        f"{override.get_key_element()}: several values ({override.input_line}) need --multirun (-m)."
        for override in overrides
        if override.is_sweep_override()
    ]


class UnknownChoices(ConfigError):
    """Choices that do not exist.

    Args:
        problems: by group.
    """

    def __init__(self, problems: dict[str, list[str]]) -> None:
        super().__init__([problem for each in problems.values() for problem in each])
        self.groups = tuple(problems)


def refuse_choices(parsed: Iterable[Override]) -> None:
    """Refuse choices that do not exist; a session must be open.

    Raises:
        UnknownChoices: with those of every override.
    """
    problems: dict[str, list[str]] = {}
    for override in parsed:
        if override.key_or_group not in CONFIG_GROUPS or override.is_delete():
            continue
        known = labels_in(override.key_or_group)
        values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
        sentences = (
            f"{override.key_or_group}: there is no choice {value!r}.{nearest(str(value), known)} "
            f"Choices: {choices(known)}."
            for value in values
            if value not in known
        )
        wrong = list(islice(sentences, MOST_TOLD))  # a range may list numbers without end
        if wrong:
            problems.setdefault(override.key_or_group, []).extend(wrong)
    if problems:
        raise UnknownChoices(problems)


def values_of(group: str, label: str) -> dict[str, Any]:
    """The content of a choice's file, with the defaults that it inherits; a session must be open."""
    with translated():
        file = _file_of(group, label)
        values = OmegaConf.to_container(file.config)
        # Most files stand for themselves, and composing takes a fifteenth of a second.
        if file.header.get("package") or "defaults" in file.config or "${" in str(values):
            content = hydra_compose(CONFIG, overrides=[f"{group}={label}"])
            values = OmegaConf.to_container(content.get(group, OmegaConf.create()), resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def plain(config: DictConfig, contents: Callable[[str, str], dict[str, Any]] = values_of) -> dict[str, Any]:
    """A composed config as a plain dict, resolved, without Hydra's own part.

    A component named by its label alone in ``model.overrides`` (``feed_forward: gelu``) becomes the content of that
    choice's file.

    Args:
        config: as Hydra composes it.
        contents: looks up the content of a choice's file, by group and label.

    Raises:
        ConfigError: a value cannot be resolved.
    """
    own = [str(key) for key in config if key not in ("hydra", EXPERIMENT)]
    with translated():
        config = OmegaConf.masked_copy(config, own) if len(own) < len(config) else config
        values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    result = {str(key): value for key, value in values.items()}
    model = result.get("model")
    if isinstance(model, dict) and isinstance(model.get("overrides"), list):
        model["overrides"] = [_expanded(override, contents) for override in model["overrides"]]
    return result


def labels_in(group: str) -> list[str]:
    """The labels one can choose in a config group, sorted; a session must be open."""
    loader = GlobalHydra.instance().config_loader()
    return sorted(loader.get_group_options(group))


def component_of(group: str, label: str) -> str:
    """The component that a choice names; a session must be open."""
    with translated():
        own = OmegaConf.select(_file_of(group, label).config, "name")
    return str(own if own is not None else values_of(group, label)["name"])


def _file_of(group: str, label: str) -> ConfigResult:
    path = f"{group}/{label}"
    sources = GlobalHydra.instance().config_loader().get_sources()
    return next(source for source in sources if source.available() and source.is_config(path)).load_config(path)


def _expanded(override: Any, contents: Callable[[str, str], dict[str, Any]]) -> Any:
    if not isinstance(override, dict):
        return override
    return {
        key: copy.deepcopy(contents(str(key), value)) if key in GROUPS and isinstance(value, str) else value
        for key, value in override.items()
    }
