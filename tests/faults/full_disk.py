"""A disk that has room for so many bytes."""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from tests.faults.writes import install

#: What a transaction takes of the log at least: a page for the table and one for its index.
TRANSACTION = 2 * 4096


class FullDisk:
    """Takes writes while there is room; then a file takes what still fits, and a database nothing.

    Args:
        room: bytes.
    """

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, label: str, data: bytes, write: Callable[[bytes], int]) -> int:
        if len(data) <= self.room:
            self.room -= len(data)
            return write(data)
        write(data[: self.room])
        self.room = 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def replace(self, label: str, replace: Callable[[], None]) -> None:
        replace()

    def commit(self, label: str, database: Path, connection: sqlite3.Connection, commit: Callable[[], None]) -> None:
        if self.room < TRANSACTION:
            connection.rollback()
            raise sqlite3.OperationalError("database or disk is full")
        self.room -= TRANSACTION
        commit()


def arm(folder: Path, room: int) -> None:
    """Let this process find the disk full when it has written ``room`` bytes below ``folder``."""
    install(folder, FullDisk(room))
