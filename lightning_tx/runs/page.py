"""A run in the MLflow UI: its data, its pictures, what its model writes, and its description."""

import logging
from collections.abc import Mapping

from lightning_tx.core import names
from lightning_tx.core.errors import LtxError
from lightning_tx.model.body import Body
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.materials import Materials
from lightning_tx.runs.pictures import drawn
from lightning_tx.runs.sample import sample
from lightning_tx.tracking.dataset import log_dataset
from lightning_tx.tracking.description import describe
from lightning_tx.tracking.run import TrackedRun

log = logging.getLogger(__name__)


def show_data(run: TrackedRun, config: RunConfig, materials: Materials, counts: Mapping[str, int]) -> None:
    """Record what a run trains on, with how many documents each split has and what else was counted."""
    documents = {split: len(getattr(materials.splits, split)) for split in materials.splits.digests}
    log_dataset(
        run.store,
        run.run_id,
        name=config.data.name,
        digest=materials.splits.digest,
        place=config.data.create().place(),
        counts={**documents, **counts},
    )


def show_results(run: TrackedRun, config: RunConfig, materials: Materials, model: Body) -> None:
    """Draw the pictures of a run that has trained, let its model write, and describe it."""
    record = run.store.run(run.run_id)
    for name, content in drawn(record, run.store):
        run.log_content(name, content)
    written = _sample(config, materials, model)
    if written:
        run.log_content(names.SAMPLE_FILE, written)
    primary, steps = record.tags[names.METRIC], config.trainer.max_steps
    result = f"{primary} **{record.metrics[primary]:.4g}** after {steps:,} steps on {config.data.name}."
    describe(run.store, run.run_id, [result, *([written] if written else [])], whole=names.SAMPLE_FILE)


def _sample(config: RunConfig, materials: Materials, model: Body) -> str:
    """As :func:`sample`; of a model that cannot write, what was trained is not lost for it."""
    try:
        return sample(model, materials, config.decoding.create(), seed=config.seed)
    except LtxError as error:
        log.warning("The model writes no sample. %s", error)
        return ""
