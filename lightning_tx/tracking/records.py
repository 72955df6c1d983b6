"""The plain view of a run: what a comparison reads, free of MLflow's own types."""

import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lightning_tx.core import names
from lightning_tx.core.measure import Measure, from_text

if TYPE_CHECKING:
    from mlflow.entities import Run


#: Where runs have the facts that were recorded before they were called so.
_EARLIER_FACTS = {"data": "data_digest", "tokenizer": "tokenizer_digest", "precision": "chosen.precision"}


@dataclass(frozen=True)
class RunRecord:
    """One run as it stood when it was read.

    Attributes:
        run_id: MLflow's id.
        name: the name shown in the UI.
        study: the study it belongs to, or None.
        identity: the hash of what it trains; empty for a study's own parent run.
        status: RUNNING, FINISHED, FAILED or KILLED.
        choices: group -> label, from ``ablation.*`` without the seed.
        seed: the seed, or None.
        params: the flat parameters, without ``ablation.*``.
        metrics: the latest value of each metric; infinite and undefined ones as Python has them.
        tags: all tags.
        start_time: when it was first started (UTC).
        end_time: when it ended (UTC); None while it runs.
        artifact_uri: where MLflow keeps its artifacts.
    """

    run_id: str
    name: str
    study: str | None
    identity: str
    status: str
    choices: dict[str, str]
    seed: int | None
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    start_time: datetime | None
    end_time: datetime | None
    artifact_uri: str = ""

    @property
    def finished(self) -> bool:
        """Whether the run came to its end; a failed or killed one did not."""
        return self.status == "FINISHED"

    @property
    def facts(self) -> dict[str, str]:
        """What the run was made of besides its config: digests, precision, device, versions.

        A run of before facts were recorded has the digests and the precision under other names.
        """
        earlier = {fact: self.params[param] for fact, param in _EARLIER_FACTS.items() if param in self.params}
        return earlier | {
            key.removeprefix(names.FACTS): value for key, value in self.params.items() if key.startswith(names.FACTS)
        }

    @property
    def measures(self) -> dict[str, Measure]:
        """What the task's metrics measure, by name; empty for a run that recorded none."""
        return from_text(self.tags[names.MEASURES]) if names.MEASURES in self.tags else {}

    @property
    def artifact_folder(self) -> Path | None:
        """The folder of its artifacts on this machine; None where they lie elsewhere, as with a server."""
        return local_path(self.artifact_uri)


def local_path(uri: str) -> Path | None:
    """The folder on this machine that MLflow names by a uri or a path; None for other places."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(uri) if uri and not parts.scheme else None


def record_of(run: "Run") -> RunRecord:
    """The plain view of MLflow's own run entity."""
    tags = dict(run.data.tags)
    # The tags are written with the run itself, the parameters right after: together they survive a kill in between.
    facts = {**tags, **run.data.params}
    ablation = {key.removeprefix(names.ABLATION): facts[key] for key in facts if key.startswith(names.ABLATION)}
    seed = ablation.pop("seed", None)
    return RunRecord(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        study=tags.get(names.STUDY),
        identity=tags.get(names.IDENTITY, ""),
        status=run.info.status,
        choices=ablation,
        seed=None if seed is None else int(seed),
        params={key: value for key, value in run.data.params.items() if not key.startswith(names.ABLATION)},
        metrics={key: restored(value) for key, value in run.data.metrics.items()},
        tags=tags,
        start_time=_time(run.info.start_time),
        # MLflow keeps the old end of a run that was taken up again.
        end_time=None if run.info.status == "RUNNING" else _time(run.info.end_time),
        artifact_uri=run.info.artifact_uri or "",
    )


def restored(value: float) -> float:
    """A metric as it was logged: SQL stores hold infinity as the greatest float."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
