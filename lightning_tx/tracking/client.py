"""The one door to MLflow: how its client is made, kept quiet, and how its errors become ours.

MLflow is imported inside functions: it takes seconds, and some of its settings are read when it is imported.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lightning_tx.core.files import replaced
from lightning_tx.core.redaction import redact_text
from lightning_tx.tracking import sqlite
from lightning_tx.tracking.errors import StoreUnavailable, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")

#: What MLflow answers when the request itself is wrong: asking again would not help.
_REFUSALS = frozenset(
    {
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
        "UNAUTHENTICATED",
    }
)


def is_known(uri: str) -> bool:
    """Whether a uri names a database or a server that MLflow can record to."""
    parts = urlsplit(uri)
    return parts.scheme.partition("+")[0] in (*SERVERS, *DATABASES) and bool(parts.netloc or parts.path.strip("/"))


def kinds() -> str:
    """What a uri can be, for a message."""
    known = ", ".join(f"{scheme}://..." for scheme in (*SERVERS, *DATABASES))
    return f"null (SQLite below the run folder), {known}. Plain folders are no longer a store of MLflow"


def is_server(uri: str) -> bool:
    """Whether the uri names an MLflow server, which keeps the artifacts itself."""
    return urlsplit(uri).scheme in SERVERS


def configure(*, timeout_seconds: int, max_retries: int) -> None:
    """Set MLflow up for this process and its children; it takes these settings from the environment alone, and the
    one about telemetry when it is imported."""
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_seconds)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(max_retries)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    # Left behind by another tool, it would put our runs below a run of that tool.
    os.environ.pop("MLFLOW_RUN_ID", None)
    # It prints the traceback of each error of a database that it raises as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def create(database: Path, artifacts: str) -> None:
    """Create a SQLite database with MLflow's tables, whole or not at all: a process may be killed on the way.

    Args:
        database: the file, which is not there.
        artifacts: the uri of the folder of artifacts.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with replaced(database) as partial:
        # SQLite would take the journal that a killed process left for that of this file.
        partial.with_name(f"{partial.name}-journal").unlink(missing_ok=True)
        SqlAlchemyStore(sqlite.uri_of(partial), artifacts).engine.dispose()


def connect(uri: str) -> "MlflowClient":
    """A client for the store at ``uri``; creates the tables of a new database on a server."""
    from mlflow import MlflowClient

    return MlflowClient(uri)


def check_reachable(uri: str, timeout_seconds: float) -> None:
    """Ask a server for any answer at all: MLflow's own first call would wait and repeat for minutes.

    Raises:
        StoreUnavailable: nobody answers at an http uri.
    """
    if not is_server(uri):
        return
    import requests

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=timeout_seconds)
    except requests.exceptions.SSLError:
        return  # somebody is there; whether the certificate is accepted is for MLflow's own settings to say
    except requests.exceptions.RequestException as error:
        raise StoreUnavailable(
            f"tracking.uri: no MLflow server answers at {public(uri)} ({type(error).__name__}). Start it "
            "(mlflow server), correct the uri, or leave it null to record in SQLite below the run folder."
        ) from error


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn MLflow's exceptions into ours, naming the store.

    Raises:
        StoreUnavailable: the store cannot be reached, is locked, or has a schema of another version.
        TrackingError: the store refuses the request.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    database = sqlite.path_of(uri)
    try:
        yield
    except (MlflowException, sqlite3.Error, SQLAlchemyError) as error:
        plain = None if database is None else sqlite.advice(database, str(error))
        if plain is not None:
            raise StoreUnavailable(plain) from error
        if not isinstance(error, MlflowException):
            raise StoreUnavailable(
                f"The tracking store {public(uri)} cannot be used: {type(error).__name__}: {redact_text(str(error))}"
            ) from error
        kind = TrackingError if error.error_code in _REFUSALS else StoreUnavailable
        raise kind(f"The tracking store {public(uri)} answers: {redact_text(str(error))}") from error
    except OSError as error:
        raise StoreUnavailable(
            f"The tracking store {public(uri)} cannot be used: {type(error).__name__}: {error}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow and Alembic from reporting each table that they create; their warnings still pass."""
    import mlflow  # noqa: F401  it sets its own levels when it is imported

    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def public(uri: str) -> str:
    """The uri without user and password, for a message."""
    user = urlsplit(uri).netloc.rpartition("@")[0]
    return redact_text(uri.replace(f"{user}@", "", 1) if user else uri)
