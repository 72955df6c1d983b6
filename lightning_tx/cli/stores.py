"""Where a command finds the recorded runs: the words that ``ltx train`` takes, and two options beside them."""

import argparse
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_tx.tracking.store import Store

#: What words may set: the run folder, and the options of tracking.
KEYS = ("root", "tracking")
_WORD = re.compile(rf"(?:\+\+?)?(?:{'|'.join(KEYS)})(?:\.\w+)?=")


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Add words such as ``tracking.experiment_name=mine``, which may stand anywhere, ``--root`` and ``--uri``."""
    parser.__class__ = StoreParser
    where = "Where runs are found is said as for ltx train: root=FOLDER tracking.uri=URI tracking.experiment_name=NAME."
    parser.epilog = f"{parser.epilog} {where}" if parser.epilog else where
    parser.add_argument("--root", help="short for root=FOLDER (default: $LTX_ROOT, else multirun)", metavar="FOLDER")
    parser.add_argument("--uri", help="short for tracking.uri=URI (default: the database below the root)")


class StoreParser(argparse.ArgumentParser):
    """Takes the words that say where runs are recorded out of a command line, as ``places``."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; words behind ``--`` stay what they are."""
        args = list(args or ())
        end = args.index("--") if "--" in args else len(args)
        found, rest = super().parse_known_args([arg for arg in args[:end] if not is_place(arg)] + args[end:], namespace)
        found.places = [arg for arg in args[:end] if is_place(arg)]
        return found, rest


def is_place(word: str) -> bool:
    """Whether a word says where runs are recorded."""
    return _WORD.match(word) is not None


def get_store(arguments: argparse.Namespace) -> "Store":
    """The store that the words and options name, as it is; nothing is created.

    Raises:
        ConfigError: a word is not understood, or contradicts an option; nothing is recorded there, or there is no
            such MLflow experiment.
    """
    from lightning_tx.cli.compose import compose
    from lightning_tx.cli.imports import bulk_imports
    from lightning_tx.core.errors import ConfigError
    from lightning_tx.runs import store as runs

    config = compose(arguments.places)
    tracking = config.get("tracking", {})
    said = {word.lstrip("+").partition("=")[0] for word in arguments.places}
    problems = []
    for option, key, values in (("root", "root", config), ("uri", "tracking.uri", tracking)):
        value = getattr(arguments, option)
        if value is None:
            continue
        if key in said and values[option] != value:
            problems.append(f"--{option}: {value!r} contradicts {key}={values[option]}; say one of them.")
        values[option] = value
    if problems:
        raise ConfigError(problems)
    with bulk_imports():  # MLflow and what it needs for a database come with the first call
        return runs.get_store(config)
