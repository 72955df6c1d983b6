"""The store: one experiment of an MLflow database or server, and the folder of the runs' own files beside it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_tx.core import names
from lightning_tx.core.errors import choices
from lightning_tx.core.redaction import redact, redact_file, redact_text, secrets_in, secrets_of
from lightning_tx.tracking import sqlite
from lightning_tx.tracking.client import translated
from lightning_tx.tracking.errors import StoreUnavailable, TrackingError
from lightning_tx.tracking.experiment import Experiment, get_experiment, lock_of, open_experiment
from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.records import RunRecord, record_of, restored
from lightning_tx.tracking.search import search
from lightning_tx.tracking.values import (
    MAX_TAG,
    METRICS_PER_CALL,
    PARAMS_PER_CALL,
    Point,
    as_json,
    batches,
    cut,
    fit_params,
)

if TYPE_CHECKING:
    pass

_DEFAULTS = TrackingOptions()
#: Tags by which runs are found again: they stay as they are.
_LOOKED_UP = frozenset({names.KIND, names.STUDY, names.IDENTITY, names.PARENT})


class Store:
    """Reads and writes runs through one ``MlflowClient``; never MLflow's fluent functions and their global run.

    Opened by ``Store.open`` to write and by ``Store.get`` to read. Every method raises ``StoreUnavailable`` when the
    store does not answer and ``TrackingError`` when it refuses. What is written holds ``***`` in place of secrets
    (:mod:`lightning_tx.core.redaction`); only whole files (``log_file``) are copied as they are.

    Attributes:
        client: MLflow's client.
        uri: where the runs are recorded.
        root: the folder of the runs' own files, absolute.
        experiment_id: the MLflow experiment that holds all of it.
        options: as it was opened.
    """

    def __init__(self, experiment: Experiment, root: Path, options: TrackingOptions) -> None:
        self.client = experiment.client
        self.uri = options.uri_for(root)
        self.root = root
        self.experiment_id = experiment.experiment_id
        self.options = options
        self._moved = experiment.moved
        self._secrets = secrets_of(os.environ) | secrets_in(self.uri)

    @classmethod
    def open(cls, root: Path, options: TrackingOptions = _DEFAULTS) -> "Store":
        """The store, created on first use; safe when several processes open a new one at once.

        Args:
            root: the folder of everything that runs write; the default database and artifacts lie in it.
            options: where and how runs are recorded.

        Raises:
            ConfigError: the folder cannot be written, or the MLflow experiment was deleted.
            StoreUnavailable: the database or server does not answer, or has the schema of another MLflow version.
        """
        store = cls(open_experiment(root.absolute(), options), root.absolute(), options)
        store.follow_move()
        return store

    @classmethod
    def get(cls, root: Path, options: TrackingOptions = _DEFAULTS) -> "Store":
        """The store as it is, to read from: neither a database nor an experiment is created.

        Args:
            root: the folder of everything that runs write.
            options: where runs are recorded.

        Raises:
            ConfigError: nothing is recorded there, or there is no such MLflow experiment: the message lists them.
            StoreUnavailable: as for ``open``.
        """
        return cls(get_experiment(root.absolute(), options), root.absolute(), options)

    def follow_move(self) -> None:
        """Record where the artifacts lie now, if the run folder was moved; else new ones would go to the old place."""
        database = sqlite.path_of(self.uri)
        if self._moved is not None and database is not None:
            with translated(self.uri):
                sqlite.move_artifacts(database, self.experiment_id, *self._moved)
            self._moved = None

    def keep_secret(self, config: Mapping[str, Any]) -> None:
        """Leave the secrets of a config out of everything that is written from now on, messages of errors too."""
        self._secrets |= secrets_in(config)

    def lock(self) -> AbstractContextManager[None]:
        """The lock around "look whether it exists, else create it", between all processes that share the store."""
        return lock_of(self.uri, self.root)

    def folder(self, run_id: str) -> Path:
        """The run's own folder, for its checkpoints and its lock."""
        return self.root / "runs" / run_id

    def run(self, run_id: str) -> RunRecord:
        """One run.

        Raises:
            TrackingError: there is no such run.
        """
        with translated(self.uri):
            return self._here(record_of(self.client.get_run(run_id)))

    def runs(self, study: str | None = None) -> list[RunRecord]:
        """The runs of a study, or all runs, oldest first; parents, and runs deleted in the UI, are left out."""
        return self._tagged({names.KIND: names.RUN} | ({} if study is None else {names.STUDY: study}))

    def find(self, identity: str, study: str | None) -> RunRecord | None:
        """The run of this identity in this study (None: among the runs without one).

        Where there are several, one that finished, else the newest.
        """
        same = self._tagged({names.KIND: names.RUN, names.IDENTITY: identity})
        candidates = [record for record in same if record.study == study]
        finished = [record for record in candidates if record.finished]
        return (finished or candidates or [None])[-1]

    def studies(self) -> list[RunRecord]:
        """The parent runs of all studies, the one that was opened last first."""
        parents = self._tagged({names.KIND: names.STUDY_KIND})
        return sorted(parents, key=lambda record: record.tags[names.OPENED], reverse=True)

    def study(self, name: str) -> RunRecord | None:
        """The parent run of the study of this name."""
        parents = self._tagged({names.KIND: names.STUDY_KIND, names.STUDY: name})
        return parents[0] if parents else None

    def deleted_study(self, name: str) -> RunRecord | None:
        """The parent run of the study of this name that was deleted in the UI while runs of it were not."""
        parents = {run.tags.get(names.PARENT) for run in self.runs(name)}
        deleted = self._tagged({names.KIND: names.STUDY_KIND, names.STUDY: name}, deleted=True) if parents else []
        return next((record for record in deleted if record.run_id in parents), None)

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        """Every recorded ``(step, value)`` of one metric, in the order of the steps; empty for an unknown one."""
        with translated(self.uri):
            points = self.client.get_metric_history(run_id, key)
        ordered = sorted(points, key=lambda point: (point.step, point.timestamp))
        return [(point.step, restored(point.value)) for point in ordered]

    def config(self, run: RunRecord | str) -> dict[str, Any]:
        """The full resolved config that a run, or the run of an id, was started with.

        Raises:
            TrackingError: there is no such run, or it recorded none.
        """
        record = self.run(run) if isinstance(run, str) else run
        return json.loads(self._artifact(record, names.CONFIG_FILE).read_text(encoding="utf-8"))

    def configs(self, runs: Iterable[RunRecord]) -> dict[str, dict[str, Any]]:
        """The configs of many runs by their ids; those that recorded none that can be read are left out."""
        found = {}
        for run in runs:
            try:
                found[run.run_id] = self.config(run)
            except StoreUnavailable:
                raise
            except (TrackingError, json.JSONDecodeError):
                continue
        return found

    def artifacts(self, run_id: str, folder: str = "") -> list[str]:
        """The names of the run's artifacts directly below ``folder``, sorted."""
        return self._listed(self.run(run_id), folder)

    def _listed(self, run: RunRecord, folder: str = "") -> list[str]:
        place = run.artifact_folder
        if place is not None:
            there = (place / folder).iterdir() if (place / folder).is_dir() else ()
            return sorted(path.relative_to(place).as_posix() for path in there)
        with translated(self.uri):
            return sorted(item.path for item in self.client.list_artifacts(run.run_id, folder or None))

    def artifact_path(self, run_id: str, name: str) -> Path:
        """A local path of one artifact: where it lies, or a copy fetched from the server.

        Raises:
            TrackingError: there is no such run or no such artifact; the message lists those there are.
        """
        return self._artifact(self.run(run_id), name)

    def _artifact(self, run: RunRecord, name: str) -> Path:
        place = run.artifact_folder
        if place is not None:
            path = place / name
            if path.exists():
                return path
        elif name in self._listed(run, name.rpartition("/")[0]):
            target = self.folder(run.run_id) / "artifacts"
            target.mkdir(parents=True, exist_ok=True)
            with translated(self.uri):
                return Path(self.client.download_artifacts(run.run_id, name, str(target)))
        there = choices(self._listed(run))
        raise TrackingError(f"Run {run.run_id} has no artifact {name!r}. There are: {there}.")

    def _tagged(self, tags: Mapping[str, str], *, deleted: bool = False) -> list[RunRecord]:
        with translated(self.uri):
            return [*map(self._here, search(self.client, self.experiment_id, tags, deleted=deleted))]

    def _here(self, run: RunRecord) -> RunRecord:
        """The run with its artifacts where they lie now, though the place of before a move may be recorded."""
        if self._moved is None or not run.artifact_uri.startswith(f"{self._moved[0]}/"):
            return run
        return replace(run, artifact_uri=self._moved[1] + run.artifact_uri.removeprefix(self._moved[0]))

    def create_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Create a run with the status RUNNING; returns its id."""
        self.follow_move()
        fitted, shown = self._fit_tags(tags), redact_text(name, self._secrets)
        with translated(self.uri):
            return self.client.create_run(self.experiment_id, run_name=shown, tags=fitted).info.run_id

    def reopen_run(self, run_id: str) -> None:
        """Set a run's status to RUNNING again."""
        with translated(self.uri):
            self.client.update_run(run_id, status="RUNNING")

    def restore_run(self, run_id: str) -> None:
        """Take back that a run was deleted."""
        with translated(self.uri):
            self.client.restore_run(run_id)

    def end_run(self, run_id: str, status: str) -> None:
        """Set a run's final status (FINISHED, FAILED or KILLED) and the time of its end."""
        with translated(self.uri):
            self.client.set_terminated(run_id, status)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, over those of the same name; a value beyond MLflow's 8,000 characters is cut."""
        from mlflow.entities import RunTag

        fitted = [RunTag(key, value) for key, value in self._fit_tags(tags).items()]
        with translated(self.uri):
            for batch in batches(fitted, PARAMS_PER_CALL):
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

        fitted = fit_params(redact(params, self._secrets))
        with translated(self.uri):
            recorded = self.client.get_run(run_id).data.params
            missing = [Param(key, value) for key, value in fitted.items() if key not in recorded]
            for batch in batches(missing, PARAMS_PER_CALL):
                self.client.log_batch(run_id, params=batch, synchronous=True)
        return {key: (recorded[key], value) for key, value in fitted.items() if recorded.get(key, value) != value}

    def log_points(self, run_id: str, points: Iterable[Point]) -> None:
        """Record metric values with their own times, 1,000 a call. A point that is recorded already is not doubled."""
        from mlflow.entities import Metric

        metrics = [Metric(point.key, point.value, point.timestamp, point.step) for point in points]
        with translated(self.uri):
            for batch in batches(metrics, METRICS_PER_CALL):
                self.client.log_batch(run_id, metrics=batch, synchronous=True)

    def recorded_steps(self, run_id: str) -> set[tuple[str, int]]:
        """Every ``(metric, step)`` that the run has a value for."""
        with translated(self.uri):
            keys = self.client.get_run(run_id).data.metrics
            return {(key, point.step) for key in keys for point in self.client.get_metric_history(run_id, key)}

    def log_text(self, run_id: str, name: str, text: str) -> None:
        """Write an artifact. ``name`` may contain folders."""
        self.follow_move()
        with translated(self.uri):
            self.client.log_text(run_id, redact_file(name, text, self._secrets), name)

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
        self.log_text(run_id, name, as_json(redact(content, self._secrets)))

    def log_file(self, run_id: str, path: Path, name: str) -> None:
        """Copy a file to the artifact ``name``, which may contain folders."""
        self.follow_move()
        folder, _, file_name = name.rpartition("/")
        with translated(self.uri), tempfile.TemporaryDirectory() as scratch:
            if path.name != file_name:  # MLflow keeps the name that a file has
                path = Path(shutil.copyfile(path, Path(scratch, file_name)))
            self.client.log_artifact(run_id, str(path), folder or None)

    def log_message(self, run_id: str, name: str, text: str) -> None:
        """Write what a program says, such as a traceback, as an artifact: ``password=...`` is a secret there."""
        self.log_text(run_id, name, redact_text(text, self._secrets))

    def _fit_tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        kept = {key: value for key, value in tags.items() if key in _LOOKED_UP}
        return {key: cut(value, MAX_TAG) for key, value in (redact(tags, self._secrets) | kept).items()}
