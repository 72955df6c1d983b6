"""``ltx`` in processes that are forked from one which has imported everything, so that each starts at once."""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_tx.tracking.client import configure

# What a run imports, once for all of them.
configure(timeout_seconds=1, max_retries=0)
for module in (
    "mlflow.store.tracking.sqlalchemy_store",
    "lightning_tx.cli.train",
    "lightning_tx.cli.report",
    "lightning_tx.cli.progress",
    "lightning_tx.runs.train",
    "lightning_tx.studies.sweep",
    "lightning_tx.tracking.logger",
    "lightning_tx.training.fit",
    "matplotlib.pyplot",
):
    importlib.import_module(module)

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])

WAIT_SECONDS = 120


def ltx(arguments: Sequence[str], output: Path, prepare: Callable[[], object] | None = None) -> int:
    """Run a command in a process of its own; returns its exit code as a shell has it, its words are in ``output``.

    Args:
        arguments: the command line.
        output: a file that takes what is printed.
        prepare: called in the process before the command.
    """
    process = processes.Process(target=_in_child, args=(list(arguments), output, prepare))
    process.start()
    process.join(WAIT_SECONDS)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(output.read_text())
    return process.exitcode if process.exitcode >= 0 else 128 - process.exitcode


def _in_child(arguments: list[str], output: Path, prepare: Callable[[], object] | None) -> None:
    from lightning_tx.cli import main

    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    # A test run started in the background would pass on that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if prepare is not None:
        prepare()
    sys.exit(main(arguments))
