"""``ltx diff``: what differs between two runs."""

import argparse

from lightning_tx.cli.console import console
from lightning_tx.cli.recorded import RUN_HELP
from lightning_tx.cli.stores import add_store_arguments, get_store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("first", metavar="RUN", help=RUN_HELP)
    parser.add_argument("second", metavar="RUN", help="another run")
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the config keys and the latest metrics in which two runs differ."""
    from lightning_tx.cli.render_diff import render_diff
    from lightning_tx.runs.finding import find_run
    from lightning_tx.runs.volatile import VOLATILE

    store = get_store(arguments)
    first, second = (find_run(store, text) for text in (arguments.first, arguments.second))
    configs = store.config(first), store.config(second)
    console().print(render_diff(first, second, *configs, VOLATILE))
    return 0
