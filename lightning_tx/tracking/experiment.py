"""The MLflow experiment that holds all runs and studies: created by those who write, looked up by those who read."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.tracking import sqlite
from lightning_tx.tracking.advice import mlflow_command
from lightning_tx.tracking.client import (
    check_reachable,
    configure,
    connect,
    create,
    is_server,
    public,
    quiet,
    translated,
)
from lightning_tx.tracking.locks import locked
from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.records import local_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: By this tag the UI shows runs and not traces of language model applications.
_KIND = {names.EXPERIMENT_KIND: "custom_model_development"}
#: MLflow's own experiment, which every store has and nobody asked for.
_ALWAYS_THERE = "0"
#: An answer from a server that lives; long calls may take ``timeout_seconds``.
_REACH_SECONDS = 10
#: The folder of artifacts below the run folder.
_ARTIFACTS = "artifacts"


def lock_of(uri: str, root: Path) -> AbstractContextManager[None]:
    """The lock around "look whether it exists, else create it", between all processes that share the store."""
    # Beside the database, so that processes with other run folders but the same database exclude each other too.
    database = sqlite.path_of(uri)
    return locked(root / "tracking.lock" if database is None else database.with_name(f"{database.name}.lock"))


@dataclass(frozen=True)
class Experiment:
    """The experiment of a store.

    Attributes:
        client: MLflow's client.
        experiment_id: MLflow's id.
        moved: the place of the artifacts as it is recorded, and where they lie now, both as uris; None where the run
            folder was not moved. MLflow records absolute places and has no call to change them.
    """

    client: "MlflowClient"
    experiment_id: str
    moved: tuple[str, str] | None = None


def open_experiment(root: Path, options: TrackingOptions) -> Experiment:
    """The experiment to record in; both store and experiment are created where they are not.

    Raises:
        ConfigError: the folder cannot be written, or the experiment was deleted.
        StoreUnavailable: the store does not answer.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"root: {str(root)!r} cannot be used as the run folder: {error}.") from error
    uri, name = options.uri_for(root), options.experiment_name
    with _connected(uri, options, lock_of(uri, root), create_below=root) as client:
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return _usable(client, experiment, uri, root)
        # A server has its own place for artifacts.
        location = None if is_server(uri) else _artifacts(root)
        return Experiment(client, client.create_experiment(name, artifact_location=location, tags=_KIND))


def get_experiment(root: Path, options: TrackingOptions) -> Experiment:
    """The experiment to read; nothing is created.

    Raises:
        ConfigError: there is no such database or no such experiment, or it was deleted.
        StoreUnavailable: the store does not answer.
    """
    uri, name = options.uri_for(root), options.experiment_name
    database = sqlite.path_of(uri)
    _require(database, root)
    with _connected(uri, options, nullcontext() if database is None else lock_of(uri, root)) as client:
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return _usable(client, experiment, uri, root)
        there = [each.name for each in client.search_experiments() if each.experiment_id != _ALWAYS_THERE]
    raise ConfigError(
        f"tracking.experiment_name: there is no experiment {name!r} in {public(uri)}.{nearest(name, there)} "
        f"Experiments: {choices(there)}."
    )


def _require(database: Path | None, root: Path) -> None:
    """Refuse to read a database file that does not exist: MLflow would create it."""
    if database is None or database.exists():
        return
    if database == root / names.DATABASE:
        raise ConfigError(
            f"root: nothing is recorded below '{root}' (no {names.DATABASE}). Train first, or name the folder: root=..."
        )
    raise ConfigError(f"tracking.uri: there is no database '{database}'. Train first, or correct the uri.")


@contextmanager
def _connected(
    uri: str, options: TrackingOptions, lock: AbstractContextManager[None], *, create_below: Path | None = None
) -> "Iterator[MlflowClient]":
    """A client that was found to work; given the folder of what is recorded, one that writes and creates."""
    configure(timeout_seconds=options.timeout_seconds, max_retries=options.max_retries)
    check_reachable(uri, min(options.timeout_seconds, _REACH_SECONDS))
    database = sqlite.path_of(uri)
    with lock, quiet(), translated(uri):
        if database is not None and database.exists():
            sqlite.check(database, wait_seconds=options.patience_seconds, writes=create_below is not None)
        if database is not None and create_below is not None:
            if not database.exists():
                create(database, _artifacts(create_below))
            sqlite.write_ahead(database)
        yield connect(uri)


def _usable(client: "MlflowClient", experiment: Any, uri: str, root: Path) -> Experiment:
    if experiment.lifecycle_stage != "active":
        restore = mlflow_command("experiments", "restore", "--experiment-id", experiment.experiment_id, uri=public(uri))
        raise ConfigError(
            f"tracking.experiment_name: {experiment.name!r} was deleted in MLflow. Choose another name, or restore it "
            f"with its runs: {restore}"
        )
    database, recorded, here = sqlite.path_of(uri), experiment.artifact_location, _artifacts(root)
    # A database elsewhere may serve several run folders: it is this one that was moved if what is recorded is gone.
    moved = database is not None and recorded != here and (database.parent == root or _is_gone(recorded, root))
    return Experiment(client, experiment.experiment_id, (recorded, here) if moved else None)


def _is_gone(recorded: str, root: Path) -> bool:
    old = local_path(recorded)
    return old is not None and not old.exists() and (root / _ARTIFACTS).exists()


def _artifacts(root: Path) -> str:
    return (root / _ARTIFACTS).as_uri()
