"""Reading a store: runs as plain records, their metrics, configs and files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lightning_tx.core.errors import choices
from lightning_tx.tracking import tags as names
from lightning_tx.tracking.client import translated
from lightning_tx.tracking.errors import StoreUnavailable, TrackingError
from lightning_tx.tracking.records import RunRecord, record_of, restored

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PAGE = 500


class StoreReader:
    """The reading half of a store.

    Args:
        client: MLflow's client.
        uri: where the runs are recorded.
        root: the folder of the runs' own files.
        experiment_id: the MLflow experiment that holds all of it.
    """

    def __init__(self, client: "MlflowClient", uri: str, root: Path, experiment_id: str) -> None:
        self.client = client
        self.uri = uri
        self.root = root
        self.experiment_id = experiment_id

    def folder(self, run_id: str) -> Path:
        """The run's own folder, for its checkpoints and its lock."""
        return self.root / "runs" / run_id

    def run(self, run_id: str) -> RunRecord:
        """One run.

        Raises:
            TrackingError: there is no such run.
        """
        with translated(self.uri):
            return record_of(self.client.get_run(run_id))

    def runs(self, study: str | None = None) -> list[RunRecord]:
        """The runs of a study, or all runs, oldest first; parents, and runs deleted in the UI, are left out."""
        conditions = {names.KIND: names.RUN}
        if study is not None:
            conditions[names.STUDY] = study
        return sorted(self._search(conditions), key=_age)

    def find(self, identity: str, study: str | None) -> RunRecord | None:
        """The run of this identity in this study (None: among the runs without one).

        Where there are several, one that finished, else the newest.
        """
        same = self._search({names.KIND: names.RUN, names.IDENTITY: identity})
        candidates = sorted((record for record in same if record.study == study), key=_age)
        finished = [record for record in candidates if record.finished]
        return (finished or candidates or [None])[-1]

    def studies(self) -> list[RunRecord]:
        """The parent runs of all studies, the one that was opened last first."""
        parents = self._search({names.KIND: names.STUDY_KIND})
        return sorted(parents, key=lambda record: record.tags[names.OPENED], reverse=True)

    def study(self, name: str) -> RunRecord | None:
        """The parent run of the study of this name."""
        parents = sorted(self._search({names.KIND: names.STUDY_KIND, names.STUDY: name}), key=_age)
        return parents[0] if parents else None

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
        with translated(self.uri):
            return sorted(item.path for item in self.client.list_artifacts(run_id, folder or None))

    def artifact_path(self, run_id: str, name: str) -> Path:
        """A local path of one artifact: where it lies, or a copy fetched from the server.

        Raises:
            TrackingError: there is no such run or no such artifact; the message lists those there are.
        """
        return self._artifact(self.run(run_id), name)

    def _artifact(self, run: RunRecord, name: str) -> Path:
        place = local_path(run.artifact_uri)
        if place is not None:
            path = place / name
            if path.exists():
                return path
        elif name in self.artifacts(run.run_id, name.rpartition("/")[0]):
            target = self.folder(run.run_id) / "artifacts"
            target.mkdir(parents=True, exist_ok=True)
            with translated(self.uri):
                return Path(self.client.download_artifacts(run.run_id, name, str(target)))
        there = choices(self.artifacts(run.run_id))
        raise TrackingError(f"Run {run.run_id} has no artifact {name!r}. There are: {there}.")

    def _search(self, conditions: dict[str, str]) -> list[RunRecord]:
        if not all(map(searchable, conditions.values())):
            return []
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in conditions.items())
        found: list[RunRecord] = []
        token = None
        with translated(self.uri):
            while True:
                page = self.client.search_runs([self.experiment_id], query, max_results=_PAGE, page_token=token)
                found += map(record_of, page)
                token = page.token
                if not token:
                    return found


def local_path(uri: str) -> Path | None:
    """The folder that an artifact uri names on this machine, or None where it lies elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(uri) if uri and not parts.scheme else None


def _age(record: RunRecord) -> tuple[float, str]:
    return (record.start_time.timestamp() if record.start_time else 0.0, record.run_id)


def searchable(value: str) -> bool:
    """Whether MLflow's search can ask for a value: it has no way to quote a quotation mark."""
    return not any(mark in value for mark in "'\"`\\")
