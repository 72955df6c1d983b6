"""``ltx diff``: what differs between two runs."""

import argparse

from lightning_tx.cli.console import console
from lightning_tx.cli.stores import add_store_arguments, tracking_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("first", metavar="RUN", help="id of a run")
    parser.add_argument("second", metavar="RUN", help="id of another run")
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the config keys and the latest metrics in which two runs differ."""
    from lightning_tx.ablation.confounds import differences
    from lightning_tx.ablation.render import render_diff

    store = tracking_of(arguments).open()
    ids = (arguments.first, arguments.second)
    records = [store.run(run_id) for run_id in ids]
    configs = [store.config(run_id) for run_id in ids]
    found = differences(configs[0], configs[1])
    metrics = differences(records[0].metrics, records[1].metrics)
    console().print(render_diff(records[0], records[1], [*found, *metrics]))
    return 0
