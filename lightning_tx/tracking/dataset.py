"""A run's data as MLflow shows them: beside the run, with a digest by which runs are found."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from lightning_tx.core import names
from lightning_tx.core.redaction import redact_text
from lightning_tx.tracking.client import translated
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.values import as_json

#: Characters of a digest that MLflow takes.
MAX_DIGEST = 36


def log_dataset(
    store: Store, run_id: str, *, name: str, digest: str, place: Path | None, counts: Mapping[str, int]
) -> None:
    """Record what a run trains on; the same again changes nothing.

    Args:
        store: the store.
        run_id: the run.
        name: of the data.
        digest: over their content.
        place: the file or folder that they are read from, recorded relative to the working folder; None for none.
        counts: how many documents, by split and otherwise.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kind, source = ("code", {"tags": {"data": name}})
    if place is not None:
        kind, source = ("local", {"uri": redact_text(os.path.relpath(place))})
    data = Dataset(name, digest[:MAX_DIGEST], kind, json.dumps(source), profile=as_json(dict(counts)))
    tags = [InputTag(names.DATA_CONTEXT, "training")]
    with translated(store.uri):
        store.client.log_inputs(run_id, datasets=[DatasetInput(data, tags)])
