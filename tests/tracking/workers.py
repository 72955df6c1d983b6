"""What the tests run in processes of their own. Loaded once by the fork server, so that each process starts at once."""

import importlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

from lightning_tx.tracking import run
from lightning_tx.tracking.client import configure
from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study

# What opening a store imports, once for all of them.
configure(timeout_seconds=1, max_retries=0)
importlib.import_module("mlflow.store.tracking.sqlalchemy_store")

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])

WAIT_SECONDS = 60


def start(target, *arguments):
    process = processes.Process(target=in_child, args=(target, *arguments))
    process.start()
    return process


def in_child(target, *arguments):
    run.environment = dict  # the real one imports torch, for seconds
    target(*arguments)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not appear")
        time.sleep(0.01)


def announce(path: Path, text: str) -> None:
    """Write a file that is never seen half-written."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.rename(path)


def open_at_once(root: Path, barrier, number: int) -> None:
    barrier.wait(WAIT_SECONDS)
    store = Store.open(root)
    study = Study.open(store, "race", overrides=[f"seed={number}"])
    with TrackedRun(store, name=f"run {number}", identity=f"id{number}", config={}, choices={}, study=study) as tracked:
        tracked.log_metrics({"train/loss": float(number)}, 0)


def start_the_same_run(root: Path, barrier, results) -> None:
    store = Store.open(root)
    barrier.wait(WAIT_SECONDS)
    try:
        with TrackedRun(store, name="run", identity="same", config={}, choices={}) as tracked:
            results.put(tracked.run_id)
            barrier.wait(WAIT_SECONDS)
    except Exception as error:
        results.put(type(error).__name__)
        barrier.wait(WAIT_SECONDS)


def train_until_signal(root: Path, ready: Path) -> None:
    # A test run started in the background would pass on that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    store = Store.open(root, TrackingOptions(flush_seconds=0.1))
    with TrackedRun(store, name="run", identity="abc123", config={"a": 1}, choices={}) as tracked:
        tracked.log_metrics({"train/loss": 1.5}, 0)
        tracked.flush()
        tracked.log_metrics({"train/loss": 1.25}, 1)  # waits for the end of the run, or is lost with SIGKILL
        announce(ready, tracked.run_id)
        time.sleep(WAIT_SECONDS)


def fail(root: Path) -> None:
    store = Store.open(root)
    with TrackedRun(store, name="run", identity="abc123", config={}, choices={}):
        raise ValueError("the loss is gone\nand so is the second line")


def hold_children(root: Path, ready: Path) -> None:
    """Trains with a forked child (a data loader's worker) that outlives it."""
    store = Store.open(root)
    with TrackedRun(store, name="run", identity="abc123", config={}, choices={}) as tracked:
        child = os.fork()
        if child == 0:
            time.sleep(WAIT_SECONDS)
            os._exit(0)
        tracked.folder.joinpath("child").write_text(str(child))
        announce(ready, tracked.run_id)
        time.sleep(WAIT_SECONDS)
