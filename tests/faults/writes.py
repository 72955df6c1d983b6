"""Every write of this process below a folder passes through here, so that a fault can strike before, in or after it.

Files are written by Python's own implementation of ``io``, whose last step is ``os.write``; ``os.replace`` puts them in
their place; SQLite's transactions end in ``commit``.
"""

import _pyio
import builtins
import io
import os
import re
import shutil
import sqlite3
import sqlite3.dbapi2
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import safetensors
import safetensors.torch

#: What differs from one process to the next in the name of a file: ids, digests, the names of temporary files.
_ANY = re.compile(r"(?<=hydra/)[^/]+|(?<=cache/corpus/).+|\.uploading\.\w+|[0-9a-f]{32}")
_NUMBERS = re.compile(r"[.-]?\d[\d-]*")
_TABLE = re.compile(r"\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM|CREATE TABLE|ALTER TABLE)\s+[\"']?(\w+)", re.I)


class Fault(Protocol):
    """What happens to writes. Each method is told which kind of write it is, and how to do it."""

    def write(self, label: str, data: bytes, write: Callable[[bytes], int]) -> int:
        """Write bytes into a file; returns how many."""
        ...

    def replace(self, label: str, replace: Callable[[], None]) -> None:
        """Put a file into its place."""
        ...

    def commit(self, label: str, database: Path, connection: sqlite3.Connection, commit: Callable[[], None]) -> None:
        """Commit a transaction."""
        ...


def install(folder: Path, fault: Fault) -> None:
    """From now on, and until this process ends, what it writes below ``folder`` passes through ``fault``."""
    names: dict[int, str] = {}  # of the files that are open
    plain_open, os_open, os_close, os_write = builtins.open, os.open, os.close, os.write
    os_replace, os_rename, connect = os.replace, os.rename, sqlite3.connect

    def label_of(path: Any) -> str | None:
        if not isinstance(path, str | os.PathLike):
            return None
        path = Path(os.path.abspath(os.fspath(path)))
        if not path.is_relative_to(folder) or path.name.endswith(("lock", "-wal")):
            return None
        return _NUMBERS.sub("", _ANY.sub("*", path.relative_to(folder).as_posix()))

    def traced_open(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        number = os_open(path, flags, *rest, **named)
        label = label_of(path) if flags & (os.O_WRONLY | os.O_RDWR) else None
        names.pop(number, None)
        if label is not None:
            names[number] = label
        return number

    def traced_close(number: int) -> None:
        names.pop(number, None)
        os_close(number)

    def traced_write(number: int, data: Any) -> int:
        if number not in names:
            return os_write(number, data)
        return fault.write(f"write {names[number]}", bytes(data), lambda part: os_write(number, part))

    def traced_file(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        writes = set(mode) & set("wax+") and (file in names if isinstance(file, int) else label_of(file))
        return (_pyio.open if writes else plain_open)(file, mode, *rest, **named)

    def move_with(original: Callable[..., None]) -> Callable[..., None]:
        def traced(source: Any, target: Any, **named: Any) -> None:
            label = label_of(target)
            if label is None:
                original(source, target, **named)
            else:
                fault.replace(f"replace {label}", lambda: original(source, target, **named))

        return traced

    class Connection(sqlite3.Connection):
        def __init__(self, database: Any, *rest: Any, **named: Any) -> None:
            super().__init__(database, *rest, **named)
            self.database, self.tables = Path(str(database)), dict[str, None]()
            self.set_trace_callback(self.note)

        def note(self, statement: str) -> None:
            if found := _TABLE.match(statement):
                self.tables[found[1].lower()] = None

        def commit(self) -> None:
            tables, self.tables = " ".join(self.tables), {}
            tables = "schema" if "alembic_version" in tables else tables
            if not tables or not self.in_transaction:
                super().commit()
            else:
                fault.commit(f"commit {tables}", self.database, self, super().commit)

        def rollback(self) -> None:
            self.tables = {}
            super().rollback()

    def connect_traced(*rest: Any, **named: Any) -> sqlite3.Connection:
        return connect(*rest, **{"factory": Connection, **named})

    def serialize(tensors: Any, path: Any, metadata: Any = None) -> None:
        with traced_file(path, "wb") as file:
            file.write(safetensors.torch.save(tensors, metadata))

    builtins.open = io.open = traced_file
    os.open, os.close, os.write = traced_open, traced_close, traced_write
    os.replace, os.rename = move_with(os_replace), move_with(os_rename)
    sqlite3.connect = sqlite3.dbapi2.connect = connect_traced
    # Written by a library in another language, or by the kernel from file to file: here as everything else.
    import lightning_tx.model.weights

    lightning_tx.model.weights.save_file = serialize
    for shortcut in ("_USE_CP_SENDFILE", "_HAS_FCOPYFILE", "_USE_CP_COPY_FILE_RANGE"):
        if hasattr(shutil, shortcut):
            setattr(shutil, shortcut, False)
