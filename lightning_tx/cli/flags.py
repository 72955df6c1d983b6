"""The options of ``ltx train``, which are Hydra's, told from the overrides that stand before and after them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import hydra

from lightning_tx.core.errors import ConfigError

#: Options that only show something; one of them at a time.
SHOWING = ("help", "hydra_help", "cfg", "info")
#: Options that say how ``--cfg`` shows it.
OF_CFG = ("package", "resolve")
#: Options that would train another config than the one that is checked.
REPLACING = ("config_path", "config_name", "experimental_rerun")


@dataclass(frozen=True)
class Flags:
    """A command line taken apart.

    Attributes:
        options: the options, each before its value.
        overrides: the overrides.
        multirun: whether a sweep is asked for.
        config_dirs: further folders of choices.
        only_shows: whether something is to be shown and nothing trained.
    """

    options: list[str]
    overrides: list[str]
    multirun: bool
    config_dirs: list[str]
    only_shows: bool

    @staticmethod
    def parse(arguments: Sequence[str]) -> "Flags":
        """Take a command line apart; leaves with a message where an option is unknown or lacks its value.

        Raises:
            ConfigError: with every option that cannot be followed.
        """
        given = parser().parse_intermixed_args(list(arguments))
        shows = [name for name in SHOWING if getattr(given, name)]
        problems = _problems(given, shows)
        if problems:
            raise ConfigError(problems)
        options = [argument for argument in arguments if argument not in given.overrides]
        folders = [given.config_dir] if given.config_dir else []
        if shows:
            # Hydra shows one config; of a sweep it is that of the first job.
            options = [option for option in options if option != "-m" and not option.startswith("--mu")]
        return Flags(options, given.overrides, given.multirun, folders, bool(shows))

    @property
    def arguments(self) -> list[str]:
        """The overrides, then the options: one that may stand alone would take an override behind it for its value."""
        return [*self.overrides, *self.options]


def _problems(given: argparse.Namespace, shows: Sequence[str]) -> list[str]:
    """What keeps options from being followed, or from being followed together."""
    problems = []
    if len(shows) > 1:
        problems.append(f"{', '.join(map(_option, shows))}: one of them at a time.")
    if given.run and (given.multirun or shows):
        others = [_option(name) for name in ("multirun", *shows) if getattr(given, name)]
        problems.append(f"--run: it trains one run, which does not go with {', '.join(others)}.")
    problems += [
        f"{_option(name)}: it says how --cfg shows a config; add --cfg job."
        for name in OF_CFG
        if getattr(given, name) and "cfg" not in shows
    ]
    if given.shell_completion:
        problems.append("--shell-completion: ltx has its own, for all commands: ltx completion bash (or zsh, fish).")
    problems += [
        f"{_option(name)}: only shown with --cfg; add choices by --config-dir."
        for name in REPLACING
        if getattr(given, name) and not shows
    ]
    return problems


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def parser() -> argparse.ArgumentParser:
    """The options that ``hydra.main`` knows; what they do, and their help, is its own."""
    known = argparse.ArgumentParser(prog="ltx train", add_help=False)
    known.add_argument("overrides", nargs="*")
    for names in (("--help", "-h"), ("--hydra-help",), ("--resolve",), ("--run", "-r"), ("--multirun", "-m")):
        known.add_argument(*names, action="store_true")
    known.add_argument("--shell-completion", "-sc", action="store_true")
    known.add_argument("--version", action="version", version=f"Hydra {hydra.__version__}")
    known.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    for names in (("--package", "-p"), ("--config-path", "-cp"), ("--config-name", "-cn"), ("--config-dir", "-cd")):
        known.add_argument(*names)
    known.add_argument("--experimental-rerun")
    kinds = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
    known.add_argument("--info", "-i", const="all", nargs="?", choices=kinds)
    return known
