"""Plugin files on the command line: ``plugins=[my_norm.py]`` among the overrides, or ``LTX_PLUGINS``."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The same list for every command, written as on the command line: ``LTX_PLUGINS='[my_norm.py]'``.
VARIABLE = "LTX_PLUGINS"
KEY = "plugins"


def is_listing(word: str) -> bool:
    """Whether a word of a command line lists plugin files."""
    return word.lstrip("+").startswith(f"{KEY}=")


def asked(words: Sequence[str]) -> str:
    """The word that does not list plugin files; empty where there is none.

    Raises:
        ConfigError: there are several.
    """
    from lightning_tx.core.errors import ConfigError

    others = [word for word in words if not is_listing(word)]
    if len(others) > 1:
        raise ConfigError(f"WHICH: one group or component at a time; given are {', '.join(others)}.")
    return "".join(others)


def listed(words: Sequence[str]) -> list[str]:
    """The plugin files that a command line lists, or else the environment.

    Raises:
        ConfigError: the list cannot be read as one.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from lightning_tx.core.errors import ConfigError

    lines = [word for word in words if is_listing(word)]
    if not lines and os.environ.get(VARIABLE, "").strip():
        lines = [f"{KEY}={os.environ[VARIABLE]}"]
    if not lines:
        return []
    given = lines[-1].partition("=")[2]
    try:
        override = OverridesParser.create().parse_override(lines[-1])
        if override.is_sweep_override():
            raise ConfigError(f"plugins: {given} would sweep over files; a list of them is plugins=[{given}].")
        value: Any = OmegaConf.to_container(OmegaConf.create({KEY: override.value()}), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"plugins: {given!r} is no list of files: {str(error).splitlines()[0]}") from error
    if not isinstance(value[KEY], list) or not all(isinstance(path, str) for path in value[KEY]):
        raise ConfigError(f"plugins: {given!r} should be a list of files: plugins=[{given}].")
    return value[KEY]


def conf_folders(files: Sequence[str]) -> list[Path]:
    """The folders ``conf`` beside plugin files, whose choices can be named.

    Raises:
        ConfigError: a file does not exist, or a choice of a folder has the name of one of the project's, which would
            be taken instead of it.
    """
    from lightning_tx.cli.search_path import CONFIG_GROUPS
    from lightning_tx.core.errors import ConfigError
    from lightning_tx.core.package import conf_dir

    problems = [
        f"plugins: '{file}' does not exist (looked from '{Path.cwd()}')."
        for file in files
        if not Path(file).expanduser().exists()
    ]
    beside = [Path(file).expanduser().absolute().parent / "conf" for file in files]
    folders = [folder for folder in dict.fromkeys(beside) if folder.is_dir() and folder != conf_dir()]
    owner: dict[Path, Path] = {}
    for folder in [conf_dir(), *folders]:
        for group in CONFIG_GROUPS:
            for yaml in sorted((folder / group).glob("*.yaml")):
                choice = yaml.relative_to(folder)
                if choice in owner:
                    problems.append(f"plugins: '{yaml}' and '{owner[choice] / choice}' are one choice; rename yours.")
                owner.setdefault(choice, folder)
    if problems:
        raise ConfigError(problems)
    return folders


@contextmanager
def plugins_of(words: Sequence[str], *, load: bool = True) -> Iterator[list[str]]:
    """Let the components and choices of the plugin files that a command line lists be used inside the block.

    Args:
        words: the command line.
        load: whether the files are imported; their choices can be named without.

    Returns:
        The files.

    Raises:
        ConfigError: with every problem of the files.
    """
    from lightning_tx.cli.search_path import joined
    from lightning_tx.runs.plugin_files import load_files

    files = listed(words)
    folders = conf_folders(files)
    if load:
        load_files(files)
    with joined(folders):
        yield files
