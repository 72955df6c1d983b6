"""The store: one MLflow database or server, and the folder of the runs' own files beside it."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.group import Group
from lightning_tx.tracking import sqlite
from lightning_tx.tracking.client import check_reachable, check_uri, configure, connect, is_server, quiet, translated
from lightning_tx.tracking.locks import locked
from lightning_tx.tracking.reader import StoreReader
from lightning_tx.tracking.values import MAX_TAG, METRICS_PER_CALL, PARAMS_PER_CALL, cut, fit_params

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: An answer from a server that lives; long calls may take ``timeout_seconds``.
_REACH_SECONDS = 10


class Point(NamedTuple):
    """One value of one metric; ``timestamp`` in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


class Store(StoreReader):
    """Reads and writes runs through one ``MlflowClient``; never MLflow's fluent functions and their global run.

    Made by ``Mlflow.open``. Every method raises ``StoreUnavailable`` when the store does not answer and
    ``TrackingError`` when it refuses.
    """

    def __init__(
        self,
        client: "MlflowClient",
        uri: str,
        root: Path,
        experiment_id: str,
        *,
        flush_seconds: float,
        patience_seconds: float,
    ) -> None:
        super().__init__(client, uri, root, experiment_id)
        self.flush_seconds = flush_seconds
        self.patience_seconds = patience_seconds

    def lock(self) -> AbstractContextManager[None]:
        """The lock around "look whether it exists, else create it", between all processes that share the store."""
        return locked(_lock_file(self.uri, self.root))

    def create_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Create a run with the status RUNNING; returns its id."""
        fitted = {key: cut(value, MAX_TAG) for key, value in tags.items()}
        with translated(self.uri):
            return self.client.create_run(self.experiment_id, run_name=name, tags=fitted).info.run_id

    def reopen_run(self, run_id: str) -> None:
        """Set a run's status to RUNNING again."""
        with translated(self.uri):
            self.client.update_run(run_id, status="RUNNING")

    def end_run(self, run_id: str, status: str) -> None:
        """Set a run's final status (FINISHED, FAILED or KILLED) and the time of its end."""
        with translated(self.uri):
            self.client.set_terminated(run_id, status)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, over those of the same name; a value beyond MLflow's 8,000 characters is cut."""
        from mlflow.entities import RunTag

        fitted = [RunTag(key, cut(value, MAX_TAG)) for key, value in tags.items()]
        with translated(self.uri):
            for batch in _batches(fitted, PARAMS_PER_CALL):
                self.client.log_batch(run_id, tags=batch, synchronous=True)

    def set_experiment_tag(self, key: str, value: str) -> None:
        """Set a tag of the MLflow experiment that holds all runs."""
        with translated(self.uri):
            self.client.set_experiment_tag(self.experiment_id, key, value)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Remove a tag that the run has."""
        with translated(self.uri):
            self.client.delete_tag(run_id, key)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Record parameters. Those that the run has already stay as they are, as MLflow's parameters never change.

        Returns:
            key -> (recorded value, refused value) for those that differ.
        """
        from mlflow.entities import Param

        fitted = fit_params(params)
        with translated(self.uri):
            recorded = self.client.get_run(run_id).data.params
            missing = [Param(key, value) for key, value in fitted.items() if key not in recorded]
            for batch in _batches(missing, PARAMS_PER_CALL):
                self.client.log_batch(run_id, params=batch, synchronous=True)
        return {key: (recorded[key], value) for key, value in fitted.items() if recorded.get(key, value) != value}

    def log_points(self, run_id: str, points: Iterable[Point]) -> None:
        """Record metric values with their own times, 1,000 a call. A point that is recorded already is not doubled."""
        from mlflow.entities import Metric

        metrics = [Metric(point.key, point.value, point.timestamp, point.step) for point in points]
        with translated(self.uri):
            for batch in _batches(metrics, METRICS_PER_CALL):
                self.client.log_batch(run_id, metrics=batch, synchronous=True)

    def recorded_steps(self, run_id: str) -> set[tuple[str, int]]:
        """Every ``(metric, step)`` that the run has a value for."""
        with translated(self.uri):
            keys = self.client.get_run(run_id).data.metrics
            return {(key, point.step) for key in keys for point in self.client.get_metric_history(run_id, key)}

    def log_text(self, run_id: str, name: str, text: str) -> None:
        """Write an artifact. ``name`` may contain folders."""
        with translated(self.uri):
            self.client.log_text(run_id, text, name)

    def log_content(self, run_id: str, name: str, content: str | bytes) -> None:
        """Write text, or bytes as they are, as the artifact ``name``, which may contain folders."""
        if isinstance(content, str):
            self.log_text(run_id, name, content)
            return
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, name.rpartition("/")[2])
            path.write_bytes(content)
            self.log_file(run_id, path, name)

    def log_json(self, run_id: str, name: str, content: Any) -> None:
        """Write plain values as a JSON artifact."""
        self.log_text(run_id, name, as_json(content))

    def log_file(self, run_id: str, path: Path, name: str) -> None:
        """Copy a file to the artifact ``name``, which may contain folders."""
        folder, _, file_name = name.rpartition("/")
        with translated(self.uri), tempfile.TemporaryDirectory() as scratch:
            if path.name != file_name:  # MLflow keeps the name that a file has
                path = Path(shutil.copyfile(path, Path(scratch, file_name)))
            self.client.log_artifact(run_id, str(path), folder or None)


class Mlflow:
    """Runs recorded in MLflow: an SQLite file below the run folder, another database, or a server.

    Source: https://mlflow.org/docs/latest/ml/tracking

    Args:
        root: the folder of everything that runs write; the default database and artifacts lie in it.
        uri: where to record: null for SQLite below ``root``, else sqlite:///, postgresql://, http://, ...
        experiment_name: MLflow's own word for the collection that holds all runs and studies.
        flush_seconds: metrics are sent at least this often while a run trains.
        patience_seconds: how long a store that stopped answering is waited for before a run ends with an error.
        timeout_seconds: how long a server may take to answer one call.
        max_retries: how often one call to a server is repeated, with growing pauses.
    """

    def __init__(
        self,
        root: Path = Path("multirun"),
        *,
        uri: str | None = None,
        experiment_name: Annotated[str, Field(min_length=1, max_length=250)] = "lightning_tx",
        flush_seconds: Annotated[float, Field(gt=0)] = 5.0,
        patience_seconds: Annotated[float, Field(ge=0)] = 60.0,
        timeout_seconds: Annotated[int, Field(gt=0)] = 30,
        max_retries: Annotated[int, Field(ge=0, le=10)] = 2,
    ) -> None:
        if uri is not None:
            check_uri(uri)
        self.root = root.absolute()
        self.uri = sqlite.uri_of(self.root / "mlflow.db") if uri is None else sqlite.absolute(uri)
        self.experiment_name = experiment_name
        self.flush_seconds = flush_seconds
        self.patience_seconds = patience_seconds
        self.timeout_seconds = timeout_seconds
        self.max_retries = max_retries

    def open(self) -> Store:
        """The store, created on first use; safe when several processes open a new one at once.

        Raises:
            ConfigError: the folder cannot be written, or the MLflow experiment was deleted.
            StoreUnavailable: the database or server does not answer, or has the schema of another MLflow version.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"tracking: {str(self.root)!r} cannot be used as the run folder: {error}.") from error
        configure(timeout_seconds=self.timeout_seconds, max_retries=self.max_retries)
        check_reachable(self.uri, min(self.timeout_seconds, _REACH_SECONDS))
        with locked(_lock_file(self.uri, self.root)), quiet(), translated(self.uri):
            client = connect(self.uri)
            experiment_id = self._experiment(client)
        return Store(
            client,
            self.uri,
            self.root,
            experiment_id,
            flush_seconds=self.flush_seconds,
            patience_seconds=self.patience_seconds,
        )

    def _experiment(self, client: Any) -> str:
        artifacts = (self.root / "artifacts").as_uri()
        experiment = client.get_experiment_by_name(self.experiment_name)
        database = sqlite.path_of(self.uri)
        if database is not None:
            sqlite.write_ahead(database)
        if experiment is None:
            # A server has its own place for artifacts.
            location = None if is_server(self.uri) else artifacts
            # By this tag the UI shows runs and not traces of language model applications.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client.create_experiment(self.experiment_name, artifact_location=location, tags=kind)
        if experiment.lifecycle_stage != "active":
            raise ConfigError(
                f"tracking.experiment_name: {self.experiment_name!r} was deleted in MLflow. Restore it "
                f"(mlflow experiments restore --experiment-id {experiment.experiment_id}) or choose another name."
            )
        if database is not None and database.parent == self.root and experiment.artifact_location != artifacts:
            sqlite.move_artifacts(database, experiment.experiment_id, experiment.artifact_location, artifacts)
        return experiment.experiment_id


def as_json(content: Any) -> str:
    """Plain values as the text of a file."""
    return json.dumps(content, indent=2, default=str, ensure_ascii=False) + "\n"


def _lock_file(uri: str, root: Path) -> Path:
    # Beside the database, so that processes with other run folders but the same database exclude each other too.
    database = sqlite.path_of(uri)
    return root / "tracking.lock" if database is None else database.with_name(f"{database.name}.lock")


def _batches(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


TRACKING = Group("tracking", Mlflow, __package__, gives=("root",))
TRACKING.register("mlflow")(Mlflow)
