"""File locks between the processes of one machine (or of one shared folder). The kernel frees a dead holder's lock."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_tx.tracking.errors import StoreUnavailable

#: How long the short critical sections of other processes are waited for.
PATIENCE_SECONDS = 120.0

_HOLDER_FILE = "holder.txt"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock at ``path`` for a short while, waiting for others to leave.

    Raises:
        StoreUnavailable: another process has held it for two minutes, or its file cannot be written.
    """
    try:
        with FileLock(path, timeout=PATIENCE_SECONDS):
            yield
    except Timeout:
        raise StoreUnavailable(
            f"Another process has held {path} for more than {PATIENCE_SECONDS:.0f} s; "
            "if none of yours is alive, its file system does not release the locks of dead processes."
        ) from None
    except PermissionError as error:
        if error.filename != str(path):
            raise
        raise StoreUnavailable(
            f"The store in {path.parent} cannot be locked: {error.strerror}. Make the folder and {path.name} writable."
        ) from None


class RunLock:
    """Held as long as a run trains: whoever can take it knows that nobody trains the run now.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        # Not tied to a thread: whichever thread closes the run frees it.
        self._lock = FileLock(folder / "lock", timeout=0, thread_local=False)
        self._holder = folder / _HOLDER_FILE

    def acquire(self) -> str | None:
        """Take the lock, at once or not at all; returns who holds it, as ``process 12 on host``, or None if we do."""
        try:
            self._lock.acquire()
        except Timeout:
            return self._holder.read_text().strip() if self._holder.exists() else "another process"
        self._holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        return None

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()
