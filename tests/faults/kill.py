"""A process that kills itself at a write."""

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.writes import install

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Kill:
    """Strikes once, at the first write of a kind and at a moment (before, in, after) that no process before it struck.

    So a chain of processes is killed at every kind of write there is, at each moment.

    Args:
        journal: the file that says where the chain was struck; outside what is watched.
        at: only kinds of writes that one of these words is part of.
    """

    def __init__(self, journal: Path, at: Sequence[str] = ("",)) -> None:
        self.journal, self.at = journal, at
        known = strikes(journal)
        number = len(known)
        self.known = {(label, moment) for label, moment, _ in known}
        # Each signal comes at each moment.
        self.signum = SIGNALS[(number + number // len(SIGNALS)) % len(SIGNALS)]
        self.over = False

    def write(self, label: str, data: bytes, write: Callable[[bytes], int]) -> int:
        self._strike(label, "before")
        if self._due(label, "in"):
            written = write(data[: len(data) // 2])
            self._strike(label, "in")
            return written
        written = write(data)
        self._strike(label, "after")
        return written

    def replace(self, label: str, replace: Callable[[], None]) -> None:
        self._strike(label, "before")
        replace()
        self._strike(label, "after")

    def commit(self, label: str, database: Path, connection: sqlite3.Connection, commit: Callable[[], None]) -> None:
        self._strike(label, "before")
        log = database.with_name(f"{database.name}-wal")
        if self.signum == signal.SIGKILL and log.exists() and self._due(label, "in"):
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            before = log.read_bytes()
            commit()
            after = log.read_bytes()
            log.write_bytes(half_way(before, after))
            self._strike(label, "in")
        commit()
        self._strike(label, "after")

    def _due(self, label: str, moment: str) -> bool:
        return not self.over and (label, moment) not in self.known and any(word in label for word in self.at)

    def _strike(self, label: str, moment: str) -> None:
        if not self._due(label, moment):
            return
        self.over = True
        with self.journal.open("a") as file:
            file.write(json.dumps([label, moment, self.signum]) + "\n")
        os.kill(os.getpid(), self.signum)


def strikes(journal: Path) -> list[tuple[str, str, int]]:
    """Where a chain was struck so far: kinds of writes, moments and signals, in order."""
    return [tuple(json.loads(line)) for line in journal.read_text().splitlines()] if journal.exists() else []


def half_way(before: bytes, after: bytes) -> bytes:
    """A file that was ``before`` and half of whose change to ``after`` was written."""
    size = 512
    differing = [at for at in range(0, len(after), size) if before[at : at + size] != after[at : at + size]]
    middle = differing[len(differing) // 2] if differing else 0
    return after[:middle] + before[middle:]


def arm(folder: Path, journal: Path, at: Sequence[str] = ("",)) -> None:
    """Let this process be killed as it writes below ``folder``; see :class:`Kill`."""
    install(folder, Kill(journal, at))
