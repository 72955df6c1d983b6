"""Who trains a run now: the process that holds the lock in its folder, or another machine that shares the server."""

import socket

from lightning_tx.core import names
from lightning_tx.tracking.client import is_server
from lightning_tx.tracking.locks import RunLock
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.store import Store


def take(store: Store, run: RunRecord | None, run_id: str) -> RunLock | str:
    """The lock of a run, taken; or who trains it, as ``process 12 on host``.

    To be called under the store's lock: what tries the lock for a moment must not be taken for somebody who trains.

    Args:
        store: where the run is recorded.
        run: the run as it was recorded; None for a new one.
        run_id: its id.
    """
    folder = store.folder(run_id)
    if run is not None and _is_elsewhere(store, run):
        return (
            f"a process on {run.tags.get(names.HOST)!r}, as far as is recorded: its run folder is not here. Where that "
            "run is dead, delete it in MLflow"
        )
    folder.mkdir(parents=True, exist_ok=True)
    lock = RunLock(folder)
    return lock.acquire() or lock


def owner_of(store: Store, run: RunRecord) -> str | None:
    """Who trains a run now, or None; to be called under the store's lock as :func:`take`."""
    taken = take(store, run, run.run_id)
    if isinstance(taken, str):
        return taken
    taken.release()
    return None


def _is_elsewhere(store: Store, run: RunRecord) -> bool:
    """Whether a run is marked as running on another machine, of which a lock tells nothing."""
    return (
        is_server(store.uri)
        and run.status == "RUNNING"
        and run.tags.get(names.HOST, "") != socket.gethostname()
        and not store.folder(run.run_id).exists()
    )
