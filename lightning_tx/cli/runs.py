"""``ltx runs``: the recorded runs, the newest last."""

import argparse

from lightning_tx.cli.console import console
from lightning_tx.cli.stores import add_store_arguments, get_store

#: Runs that are listed unless more are asked for.
LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("study", nargs="?", help="the runs of a study alone ('last': the latest study)")
    parser.add_argument("--all", action="store_true", help=f"every run, not only the {LISTED} newest")
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a line a run: how it is named, what it belongs to, what became of it and its primary metric."""
    from rich.markup import escape
    from rich.table import Table

    from lightning_tx.core import names
    from lightning_tx.runs.finding import LAST, SHORTEST_ID
    from lightning_tx.tracking.study import Study

    store = get_store(arguments)
    study = arguments.study
    if study is not None:
        latest = store.studies()[:1] if study == LAST else []
        study = latest[0].study if latest else Study.get(store, study).name
    runs = store.runs(study)
    shown = runs if arguments.all else runs[-LISTED:]
    width = max(SHORTEST_ID + 2, _shortest_apart([run.run_id for run in runs]))
    table = Table(box=None, pad_edge=False)
    for column in ("run", "name", "study", "status", "metric", "started"):
        table.add_column(column, overflow="fold", no_wrap=column == "run")
    for each in shown:
        metric = each.tags.get(names.METRIC, "")
        value = f"{metric} {each.metrics[metric]:.4g}" if metric in each.metrics else ""
        started = f"{each.start_time:%Y-%m-%d %H:%M}" if each.start_time else ""
        table.add_row(each.run_id[:width], escape(each.name), escape(each.study or ""), each.status, value, started)
    out = console()
    out.print(table)
    if len(shown) < len(runs):
        out.print(f"\n{len(runs) - len(shown)} earlier runs: --all")
    return 0


def _shortest_apart(ids: list[str]) -> int:
    """How many characters tell all ids apart."""
    width = 1
    while len({each[:width] for each in ids}) < len(ids):
        width += 1
    return width
