"""What the default store, one SQLite file, needs besides MLflow."""

import sqlite3
from contextlib import closing
from pathlib import Path

_TIMEOUT_SECONDS = 30.0
_PREFIX = "sqlite:///"


def uri_of(path: Path) -> str:
    """The tracking uri of a database file."""
    return f"{_PREFIX}{path}"


def absolute(uri: str) -> str:
    """The uri with its file as an absolute path: a worker in another folder must find the same one."""
    path = path_of(uri)
    return uri if path is None else uri_of(path)


def path_of(uri: str) -> Path | None:
    """The database file that a uri names; None where it is not SQLite."""
    return Path(uri.removeprefix(_PREFIX)).absolute() if uri.startswith(_PREFIX) else None


def write_ahead(path: Path) -> None:
    """Switch the database to write-ahead logging, which lets several runs write at once; the file remembers it.

    Not for network file systems: there, several machines need a server.
    """
    with closing(sqlite3.connect(path, timeout=_TIMEOUT_SECONDS)) as connection:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode=WAL")


def move_artifacts(path: Path, experiment_id: str, old: str, new: str) -> None:
    """Point an experiment and its runs from the artifact folder ``old`` to ``new``, both as uris.

    MLflow records absolute places and has no call to change them: a run folder that was moved or copied would keep
    writing into the old place.
    """
    with closing(sqlite3.connect(path, timeout=_TIMEOUT_SECONDS)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, int(experiment_id))
        )
        connection.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
            "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
            (new, len(old) + 1, int(experiment_id), len(old) + 1, old + "/"),
        )
