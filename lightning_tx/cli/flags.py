"""The options of ``ltx train``, which are Hydra's, told from the overrides that stand before and after them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import hydra

from lightning_tx.core.errors import ConfigError

#: Options that only show something.
SHOWING = ("help", "hydra_help", "cfg", "info", "shell_completion")
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
        """Take a command line apart; leaves with a message where an option is unknown.

        Raises:
            ConfigError: an option that cannot be followed.
        """
        given = _parser().parse_intermixed_args(list(arguments))
        only_shows = any(getattr(given, name) for name in SHOWING)
        for name in REPLACING:
            if getattr(given, name) and not only_shows:
                raise ConfigError(f"--{name.replace('_', '-')}: only shown with --cfg; add choices by --config-dir.")
        options = [argument for argument in arguments if argument not in given.overrides]
        folders = [given.config_dir] if given.config_dir else []
        if only_shows:
            # Hydra shows one config; of a sweep it is that of the first job.
            options = [option for option in options if option != "-m" and not option.startswith("--mu")]
        return Flags(options, given.overrides, given.multirun, folders, only_shows)

    @property
    def arguments(self) -> list[str]:
        """The options, then the overrides, as Hydra wants them."""
        return [*self.options, *self.overrides]


def _parser() -> argparse.ArgumentParser:
    """The options that ``hydra.main`` knows; what they do, and their help, is its own."""
    parser = argparse.ArgumentParser(prog="ltx train", add_help=False)
    parser.add_argument("overrides", nargs="*")
    for names in (("--help", "-h"), ("--hydra-help",), ("--resolve",), ("--run", "-r"), ("--multirun", "-m")):
        parser.add_argument(*names, action="store_true")
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--version", action="version", version=f"Hydra {hydra.__version__}")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    for names in (("--package", "-p"), ("--config-path", "-cp"), ("--config-name", "-cn"), ("--config-dir", "-cd")):
        parser.add_argument(*names)
    parser.add_argument("--experimental-rerun")
    kinds = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
    parser.add_argument("--info", "-i", const="all", nargs="?", choices=kinds)
    return parser
