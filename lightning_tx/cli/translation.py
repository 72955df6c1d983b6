"""What Hydra, OmegaConf and yaml raise, said as one sentence that names the key or the file."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from lightning_tx.core.errors import ConfigError, choices, nearest

#: The group of Hydra's launchers, and the extra of ours that brings each.
LAUNCHER = "hydra/launcher"
EXTRAS = {
    "joblib": "joblib",
    "ray": "ray",
    "ray_aws": "ray",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
}
_NO_OPTION = re.compile(r"Could not override 'hydra\.launcher\.([\w.]+)'")


@contextmanager
def translated() -> Iterator[None]:
    """Turn what Hydra, OmegaConf and yaml raise into a ``ConfigError``."""
    try:
        yield
    except MissingConfigException as error:
        group, _, label = (error.missing_cfg_file or "").rpartition("/")
        options = error.options or []
        if group == LAUNCHER and label in EXTRAS:
            raise ConfigError(
                f"{group}: {label!r} is not installed; pip install 'lightning_tx[{EXTRAS[label]}]'. "
                f"Installed: {choices(options)}."
            ) from error
        if group == LAUNCHER:
            options = [*options, *EXTRAS]
        if not options:
            raise ConfigError(_one_line(error)) from error
        raise ConfigError(
            f"{group}: there is no choice {label!r}.{nearest(label, options)} Choices: {choices(options)}."
        ) from error
    except MarkedYAMLError as error:
        raise ConfigError(_place(error)) from error
    except UnicodeDecodeError as error:
        files = ", ".join(f"'{file}'" for file in _undecodable()) or "a config file"
        raise ConfigError(f"{files}: not UTF-8 ({error.reason}); save it as UTF-8.") from error
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(_one_line(error, error.__cause__)) from error


def config_folders() -> list[Path]:
    """The folders on disk that choices are looked for in; empty without a session."""
    session = GlobalHydra.instance()
    sources = session.config_loader().get_sources() if session.is_initialized() else []
    return [Path(source.path) for source in sources if source.scheme() == "file"]


def _place(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    tabs = " Indent by blanks, not tabs." if "'\\t'" in str(error.problem) else ""
    where = f"'{mark.name}', line {mark.line + 1}: " if mark else ""
    return f"{where}{error.problem or error.context}.{tabs}"


def _undecodable() -> list[Path]:
    found = []
    for folder in config_folders():
        for file in sorted(folder.rglob("*.yaml")):
            try:
                file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                found.append(file)
    return found


def _one_line(*errors: BaseException | None) -> str:
    option = _NO_OPTION.search(str(errors[0]))
    if option is not None:
        return (
            f"hydra.launcher.{option[1]}: the launcher has no such option; choose one that has, as in "
            f"{LAUNCHER}=joblib hydra.launcher.n_jobs=2. Launchers: basic, {choices(EXTRAS)}."
        )
    lines = [line.strip() for error in errors if error for line in str(error).splitlines()]
    return " ".join(dict.fromkeys(line for line in lines if line))
