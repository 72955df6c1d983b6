"""What the default store, one SQLite file, needs besides MLflow."""

import re
import sqlite3
from contextlib import closing
from functools import cache
from importlib import metadata
from pathlib import Path

from lightning_tx.tracking.advice import mlflow_command
from lightning_tx.tracking.errors import StoreUnavailable

_TIMEOUT_SECONDS = 30.0
_PREFIX = "sqlite:///"
#: What SQLAlchemy takes for SQLite: the driver may be named.
_URI = re.compile(r"sqlite(\+pysqlite)?:///(?=.)")
_VERSION = "alembic_version"
#: What SQLite says -> what it means, and what to do; ``{path}`` is the file.
_ADVICE = (
    ("is locked", "is locked by another process. Wait for it or end it (fuser {path} names it), then start again."),
    ("not a database", "is not a SQLite database. Correct tracking.uri, or move the file away."),
    (
        "malformed",
        "is damaged. Restore a copy, or save what can be read (sqlite3 {path} .recover | sqlite3 new.db), and move "
        "the file away.",
    ),
    ("readonly", "cannot be written. Make the file and its folder writable, or set tracking.uri to another file."),
    (
        "unable to open",
        "cannot be opened. Make the file and its folder readable and writable, or correct tracking.uri.",
    ),
    ("is full", "has no space left on its disk. Free some and start again; what was recorded before is kept."),
    ("disk I/O error", "cannot be read or written: its disk reports an error, or is full."),
)


def uri_of(path: Path) -> str:
    """The tracking uri of a database file."""
    return f"{_PREFIX}{path}"


def absolute(uri: str) -> str:
    """The uri with its file as an absolute path: a worker in another folder must find the same one."""
    path = path_of(uri)
    return uri if path is None else uri_of(path)


def path_of(uri: str) -> Path | None:
    """The database file that a uri names; None where it is not SQLite."""
    prefix = _URI.match(uri)
    return Path(uri[prefix.end() :]).absolute() if prefix else None


def in_memory(uri: str) -> bool:
    """Whether a uri names a SQLite database that is no file."""
    return bool(re.match(r"sqlite(\+\w+)?:", uri)) and ":memory:" in uri


def advice(path: Path, message: str) -> str | None:
    """One sentence on what SQLite's message means for the database and what to do; None for other messages."""
    for sign, meaning in _ADVICE:
        if sign in message:
            return f"The tracking database {path} {meaning.format(path=path)}"
    return None


def check(path: Path, *, wait_seconds: float, writes: bool) -> None:
    """See whether an existing database can be used, before MLflow asks for minutes or migrates half of it.

    Args:
        path: the database file.
        wait_seconds: how long a lock of another process is waited for.
        writes: whether it has to take what is written.

    Raises:
        StoreUnavailable: it cannot be used; the message says what to do.
    """
    try:
        with closing(sqlite3.connect(path, timeout=wait_seconds, isolation_level=None)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            versions = (
                connection.execute(f"SELECT version_num FROM {_VERSION}").fetchall() if _VERSION in tables else []
            )
            if writes:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise StoreUnavailable(advice(path, str(error)) or f"The tracking database {path}: {error}.") from error
    known, newest = _revisions()
    for (version,) in versions:
        if version not in known:
            raise StoreUnavailable(
                f"The tracking database {path} was written by a newer MLflow (its schema is {version}) than the "
                f"{metadata.version('mlflow')} here. Install a newer one (pip install --upgrade "
                f"'mlflow>{metadata.version('mlflow')}'), or set tracking.uri to another file."
            )
        if version != newest:
            raise StoreUnavailable(
                f"The tracking database {path} was written by an older MLflow. Copy it, then bring it up to date: "
                f"{mlflow_command('db', 'upgrade', uri_of(path))}"
            )


@cache
def _revisions() -> tuple[frozenset[str], str]:
    """All schemas that the installed MLflow knows, and the newest; read as text, as Alembic takes long to import."""
    import mlflow.store

    follows: dict[str, str | None] = {}
    for file in (Path(mlflow.store.__path__[0]) / "db_migrations" / "versions").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        revision = re.search(r"^revision\b.*?=\s*['\"](\w+)['\"]", text, re.MULTILINE)
        before = re.search(r"^down_revision\b.*?=\s*['\"](\w+)['\"]", text, re.MULTILINE)
        if revision is not None:
            follows[revision[1]] = before and before[1]
    [newest] = set(follows) - set(follows.values())
    return frozenset(follows), newest


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
