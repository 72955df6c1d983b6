"""The names of what a SQLite store holds, read past MLflow, whose import alone is too long for a shell to wait."""

import sqlite3
from contextlib import closing
from pathlib import Path

from lightning_tx.core import names

#: A store that is written to at this moment is not waited for.
_TIMEOUT_SECONDS = 0.1

_TAGGED = """
    FROM runs JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = ? AND kind.value = ?
    JOIN experiments ON experiments.experiment_id = runs.experiment_id AND experiments.name = ?
"""
_ACTIVE = " WHERE runs.lifecycle_stage = 'active' "
_STUDIES = f"""
    SELECT study.value {_TAGGED} JOIN tags AS study ON study.run_uuid = runs.run_uuid AND study.key = ?
    JOIN tags AS opened ON opened.run_uuid = runs.run_uuid AND opened.key = ? {_ACTIVE} ORDER BY opened.value DESC
"""
_RUNS = f"SELECT runs.run_uuid {_TAGGED} {_ACTIVE} ORDER BY runs.start_time DESC"
_METRICS = f"""
    SELECT DISTINCT latest_metrics.key {_TAGGED} JOIN tags AS study ON study.run_uuid = runs.run_uuid AND study.key = ?
    JOIN latest_metrics ON latest_metrics.run_uuid = runs.run_uuid {_ACTIVE} AND study.value = ?
    ORDER BY latest_metrics.key
"""


class Listing:
    """The names in one experiment of a database file. Nothing is created, and where nothing can be read there are none.

    Args:
        database: the file; None for a store that is no file.
        experiment: MLflow's name of the experiment.
    """

    def __init__(self, database: Path | None, experiment: str) -> None:
        self._database, self._experiment = database, experiment

    def studies(self) -> list[str]:
        """The names of all studies, the one that was opened last first."""
        return self._read(_STUDIES, names.STUDY_KIND, names.STUDY, names.OPENED)

    def runs(self) -> list[str]:
        """The ids of all runs, the newest first."""
        return self._read(_RUNS, names.RUN)

    def metrics(self, study: str) -> list[str]:
        """The metrics that runs of a study have, sorted."""
        return self._read(_METRICS, names.RUN, names.STUDY, study)

    def _read(self, query: str, kind: str, *values: str) -> list[str]:
        if self._database is None:
            return []
        # Without a journal nobody writes, and SQLite need not, as it would to look for one, create it.
        journal = self._database.with_name(f"{self._database.name}-wal").exists()
        uri = f"{self._database.absolute().as_uri()}?mode=ro{'' if journal else '&immutable=1'}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_TIMEOUT_SECONDS)) as connection:
                rows = connection.execute(query, (names.KIND, kind, self._experiment, *values)).fetchall()
        except sqlite3.Error:
            return []  # a missing, locked or damaged store is told by the command that is being typed
        return [name for (name,) in rows]
