"""Hydra's language turned into plain dicts: the configs of a run or of every job of a sweep."""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_tx.cli.plugins import KEY as PLUGINS
from lightning_tx.cli.plugins import plugins_of
from lightning_tx.cli.search_path import CONFIG_GROUPS, PluginConfigs, joined
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.core.package import conf_dir
from lightning_tx.groups import GROUPS

CONFIG = "config"
HYDRA_VERSION = "1.3"


@dataclass(frozen=True)
class Job:
    """One run as it was asked for.

    Attributes:
        overrides: the command line's overrides that apply to it.
        config: the resolved config, plain values.
        labels: what was chosen: the label of every group, and every other override.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    labels: dict[str, str]

    @property
    def title(self) -> str:
        """The overrides in one line."""
        return " ".join(self.overrides) or "the baseline"


@dataclass(frozen=True)
class Request:
    """Everything one command line asks for.

    Attributes:
        jobs: the runs, in the sweep's order.
        is_sweep: whether it is a multirun.
        swept: the keys with several values.
    """

    jobs: tuple[Job, ...]
    is_sweep: bool
    swept: tuple[str, ...]


def compose(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plain config of one run, from overrides as on the command line.

    >>> compose(["positions=alibi", "model.num_layers=2"])

    Raises:
        ConfigError: an override is not understood, or names a choice that does not exist.
    """
    return read_request(overrides, multirun=False).jobs[0].config


def read_request(overrides: Sequence[str], *, multirun: bool, config_dirs: Sequence[str] = ()) -> Request:
    """Compose every job that a command line asks for, without running any; imports the plugin files it lists.

    Raises:
        ConfigError: with the problem of each job that cannot be composed, or of each plugin file.
    """
    with plugins_of(overrides), joined([Path(folder) for folder in config_dirs]), hydra_session():
        parser = OverridesParser.create()
        with _translated():
            parsed = parser.parse_overrides(list(overrides))
        fixed = [override for override in parsed if not override.is_sweep_override()]
        base = _composed([_line(override) for override in fixed if not _chooses(override)])
        base = base if _choice_problems(fixed) else _composed([_line(override) for override in fixed])
        if not multirun and str(base.hydra.mode) != "RunMode.MULTIRUN":
            return _single(base, parsed)
        if not str(base.hydra.sweeper.get("_target_", "")).endswith("BasicSweeper"):
            raise ConfigError(
                "hydra/sweeper: only Hydra's basic sweeper is supported; all jobs are checked beforehand."
            )
        given = [f"{key}={value}" for key, value in (base.hydra.sweeper.params or {}).items()]
        return _multirun(parser.parse_overrides([*given, *overrides]))


def _single(base: DictConfig, parsed: Sequence[Override]) -> Request:
    for override in parsed:
        if override.is_sweep_override():
            key = override.get_key_element()
            raise ConfigError(f"{key}: several values ({override.input_line}) need --multirun (-m).")
    problems = _choice_problems(parsed)
    if problems:
        raise ConfigError(problems)
    return Request((_job(base, [override.input_line or "" for override in parsed]),), False, ())


def _multirun(parsed: list[Override]) -> Request:
    problems = _choice_problems(parsed)
    if problems:
        raise ConfigError(problems)
    with _translated():
        (lines,) = BasicSweeper.split_arguments(parsed, None)
    last = {override.get_key_element(): override for override in parsed}
    swept = tuple(key for key, override in last.items() if override.is_sweep_override())
    jobs = []
    for job_lines in lines:
        forced = [_line(override) for override in OverridesParser.create().parse_overrides(job_lines)]
        jobs.append(_job(_composed(forced), job_lines))
    return Request(tuple(jobs), True, swept)


def _chooses(override: Override) -> bool:
    """Whether an override chooses from a config group, rather than setting a value."""
    return override.key_or_group in CONFIG_GROUPS or "/" in override.key_or_group


def _choice_problems(parsed: Sequence[Override]) -> list[str]:
    """Choices that do not exist, of every override."""
    problems = []
    for override in parsed:
        if override.key_or_group not in CONFIG_GROUPS or override.is_delete():
            continue
        known = labels_in(override.key_or_group)
        values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
        problems += [
            f"{override.key_or_group}: there is no choice {value!r}.{nearest(str(value), known)} "
            f"Choices: {choices(known)}."
            for value in values
            if value is not None and value not in known
        ]
    return problems


def _line(override: Override) -> str:
    """An override that is let through even where the key does not exist: the check names all unknown keys at once."""
    line = override.input_line or ""
    sets_value = not _chooses(override) and not override.is_delete() and not line.startswith("hydra")
    return f"++{line.lstrip('+')}" if sets_value else line


def job_of(config: DictConfig) -> Job:
    """The job that Hydra is running, from the config it hands over."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    return Job(tuple(hydra.overrides.task), plain(config), _labels(hydra.runtime.choices, hydra.overrides.task))


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed config as a plain dict, resolved, without Hydra's own part.

    A component named by its label alone in ``model.overrides`` (``feed_forward: gelu``) becomes the content of that
    choice's file.
    """
    with _translated():
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("hydra", "experiment")])
        values = OmegaConf.to_container(own, resolve=True)
    assert isinstance(values, dict)
    result = {str(key): value for key, value in values.items()}
    model = result.get("model")
    if isinstance(model, dict) and isinstance(model.get("overrides"), list):
        model["overrides"] = [_expanded(override) for override in model["overrides"]]
    return result


@contextmanager
def hydra_session() -> Iterator[None]:
    """Let configs be composed; does nothing inside a running Hydra job."""
    prepare()
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(conf_dir()), version_base=HYDRA_VERSION):
        yield


def prepare() -> None:
    """Tell Hydra what it must know before it composes: a name for this launch, and the configs of installed plugins."""
    # Two sweeps started within a second must not share a folder; a launcher's workers inherit the environment.
    os.environ.setdefault("LTX_LAUNCH", secrets.token_hex(3))
    Plugins.instance().register(PluginConfigs)


def labels_in(group: str) -> list[str]:
    """The labels one can choose in a config group, sorted; a session must be open."""
    loader = GlobalHydra.instance().config_loader()
    return sorted(loader.get_group_options(group))


def values_of(group: str, label: str) -> dict[str, Any]:
    """The content of a choice's file, with the defaults that it inherits; a session must be open."""
    with _translated():
        composed = hydra_compose(CONFIG, overrides=[f"{group}={label}"])
        values = OmegaConf.to_container(composed[group], resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def component_of(group: str, label: str) -> str:
    """The component that a choice names; a session must be open."""
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    found = loader.repository.load_config(f"{group}/{label}")
    own = OmegaConf.select(found.config, "name") if found is not None else None
    return str(own if own is not None else values_of(group, label)["name"])


def _job(config: DictConfig, overrides: Sequence[str]) -> Job:
    lines = tuple(line for line in overrides if not line.lstrip("+~").startswith("hydra"))
    return Job(lines, plain(config), _labels(config.hydra.runtime.choices, lines))


def _labels(chosen: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    # Where a run is recorded says nothing about what it is.
    telling = [group for group in CONFIG_GROUPS if group != "tracking"]
    labels = {group: str(label) for group, label in chosen.items() if group in telling and label is not None}
    for line in overrides:
        key, _, value = line.lstrip("+~").partition("=")
        if (
            key not in CONFIG_GROUPS
            and key not in ("seed", "study", "margin", "root", PLUGINS)
            and not key.startswith("tracking.")
        ):
            labels[key] = value
    return labels


def _composed(overrides: list[str]) -> DictConfig:
    with _translated():
        return hydra_compose(CONFIG, overrides=overrides, return_hydra_config=True)


def _expanded(override: Any) -> Any:
    if not isinstance(override, dict):
        return override
    return {
        key: values_of(str(key), value) if key in GROUPS and isinstance(value, str) else value
        for key, value in override.items()
    }


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise into a ``ConfigError``."""
    try:
        yield
    except MissingConfigException as error:
        group, _, label = (error.missing_cfg_file or "").rpartition("/")
        options = error.options or []
        if not options:
            raise ConfigError(_one_line(error)) from error
        raise ConfigError(
            f"{group}: there is no choice {label!r}.{nearest(label, options)} Choices: {choices(options)}."
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error, error.__cause__)) from error


def _one_line(*errors: BaseException | None) -> str:
    lines = [line.strip() for error in errors if error for line in str(error).splitlines()]
    return " ".join(dict.fromkeys(line for line in lines if line))
