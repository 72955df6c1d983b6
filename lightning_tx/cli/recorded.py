"""What commands on a recorded run have in common: how it is named, loaded and overridden, and how files are written."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_tx.cli.stores import StoreParser, add_store_arguments, get_store
from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.core.files import replaced

if TYPE_CHECKING:
    from lightning_tx.runs.loading import LoadedRun
    from lightning_tx.tracking.store import Store


#: How a run is named.
RUN_HELP = "id of a run or its first six characters; 'last': the newest finished; 'best:STUDY': a study's best"


def add_run_arguments(parser: argparse.ArgumentParser, metavar: str, text: str) -> None:
    """Add the run, words that stand in any place, where runs are found and what computes."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help=RUN_HELP,
    )
    parser.add_argument("words", nargs="*", metavar=metavar, help=text)
    parser.add_argument("--device", choices=["cpu", "cuda"], help="what computes (default: a GPU where there is one)")
    add_store_arguments(parser)
    # Python 3.11 wants all positional arguments in one place, but RUN --split test decoding=beam reads well.
    parser.__class__ = _InAnyOrder


class _InAnyOrder(StoreParser):
    """Takes words before, between and behind options."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        end = rest.index("--") if "--" in rest else len(rest)
        found.words += [word for word in rest[:end] if not word.startswith("-")] + rest[end + 1 :]
        return found, [word for word in rest[:end] if word.startswith("-")]


def loaded_run(arguments: argparse.Namespace) -> "tuple[Store, LoadedRun]":
    """The store and the run that the arguments name, its model on its device.

    Raises:
        ConfigError: there is no such run or device, or the run has no weights, or it needs a plugin file that the
            words do not list.
    """
    import torch

    from lightning_tx.cli.plugins import listed
    from lightning_tx.runs.finding import find_run
    from lightning_tx.runs.loading import load_from

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: 'cuda' is not to be had here. Choices: cpu.")
    plugins = listed(arguments.words)
    store = get_store(arguments)
    loaded = load_from(store, find_run(store, arguments.run).run_id, plugins=plugins)
    loaded.model.to(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return store, loaded


def overridden(config: Mapping[str, Any], overrides: Sequence[str], allowed: Sequence[str]) -> dict[str, Any]:
    """A recorded config with overrides as ``ltx train`` takes them; a chosen group replaces the recorded one.

    Args:
        config: plain values.
        overrides: ``group=choice`` or ``group.key=value``.
        allowed: groups, and single keys, that may be overridden.

    Raises:
        ConfigError: an override is not understood or not allowed, or names a choice that does not exist.
    """
    if not overrides:
        return dict(config)
    from lightning_tx.cli.compose import compose

    keys = [word.partition("=")[0].lstrip("+") for word in overrides]
    problems = [
        f"{key}: it cannot be overridden here. Choices: {choices(allowed)}."
        for key, word in zip(keys, overrides, strict=True)
        if "=" not in word or not any(key == other or key.startswith(f"{other}.") for other in allowed)
    ]
    if problems:
        raise ConfigError(problems)
    composed = compose(overrides)
    result = {**config, **{group: composed[group] for group in keys if "." not in group}}
    for group, name, *_ in (key.split(".") for key in keys if "." in key):
        result[group] = {**result[group], name: composed[group][name]}
    return result


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file of text or bytes, in place of one that may be there, in one step.

    Raises:
        ConfigError: it cannot be written; nothing is left behind.
    """
    try:
        with replaced(path) as partial:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise ConfigError(f"--output: '{path}' cannot be written: {error.strerror}.") from error
