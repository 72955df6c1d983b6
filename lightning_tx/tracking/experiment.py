"""The MLflow experiment that holds all runs and studies: created by those who write, looked up by those who read."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.tracking import sqlite
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

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: By this tag the UI shows runs and not traces of language model applications.
_KIND = {names.EXPERIMENT_KIND: "custom_model_development"}
#: MLflow's own experiment, which every store has and nobody asked for.
_ALWAYS_THERE = "0"
#: An answer from a server that lives; long calls may take ``timeout_seconds``.
_REACH_SECONDS = 10


def lock_of(uri: str, root: Path) -> AbstractContextManager[None]:
    """The lock around "look whether it exists, else create it", between all processes that share the store."""
    # Beside the database, so that processes with other run folders but the same database exclude each other too.
    database = sqlite.path_of(uri)
    return locked(root / "tracking.lock" if database is None else database.with_name(f"{database.name}.lock"))


def open_experiment(root: Path, options: TrackingOptions) -> "tuple[MlflowClient, str]":
    """A client, and the id of the experiment to record in; both store and experiment are created where they are not.

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
            return client, _usable(experiment, uri, root)
        # A server has its own place for artifacts.
        location = None if is_server(uri) else _artifacts(root)
        return client, client.create_experiment(name, artifact_location=location, tags=_KIND)


def get_experiment(root: Path, options: TrackingOptions) -> "tuple[MlflowClient, str]":
    """A client, and the id of the experiment to read; nothing is created.

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
            return client, _usable(experiment, uri, root)
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


def _usable(experiment: Any, uri: str, root: Path) -> str:
    """The experiment's id; where the run folder was moved, the places of its artifacts follow."""
    if experiment.lifecycle_stage != "active":
        raise ConfigError(
            f"tracking.experiment_name: {experiment.name!r} was deleted in MLflow. Restore it "
            f"(mlflow experiments restore --experiment-id {experiment.experiment_id}) or choose another name."
        )
    database, artifacts = sqlite.path_of(uri), _artifacts(root)
    if database is not None and database.parent == root and experiment.artifact_location != artifacts:
        sqlite.move_artifacts(database, experiment.experiment_id, experiment.artifact_location, artifacts)
    return experiment.experiment_id


def _artifacts(root: Path) -> str:
    return (root / "artifacts").as_uri()
