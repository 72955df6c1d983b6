"""A finished run, rebuilt from what was recorded."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lightning_tx.core import names
from lightning_tx.model.body import Body
from lightning_tx.model.build import build_model
from lightning_tx.model.weights import Weights, fill
from lightning_tx.runs.finding import find_run
from lightning_tx.runs.plugins import admit
from lightning_tx.runs.recorded import sizes_of, tokenizers_of, weights_of
from lightning_tx.runs.store import recorded_at
from lightning_tx.task.base import TASK
from lightning_tx.tokenizer.sides import Tokenizers
from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.store import Store


@dataclass(frozen=True)
class LoadedRun:
    """A finished run, ready to be used.

    Attributes:
        record: what MLflow knows of it.
        config: its full resolved config.
        model: with the weights that it ended with, in evaluation mode.
        tokenizers: as they were trained for the run.
    """

    record: RunRecord
    config: dict[str, Any]
    model: Body
    tokenizers: Tokenizers


def load_run(
    run: str,
    *,
    root: str | Path | None = None,
    uri: str | None = None,
    experiment_name: str = TrackingOptions().experiment_name,
    plugins: Sequence[str | Path] = (),
) -> LoadedRun:
    """Rebuild a run's model and tokenizer from what was recorded; nothing of the run's own machine is needed.

    Args:
        run: an id, its first six characters or more, ``last`` or ``best:STUDY``, see :func:`find_run`.
        root: the folder of everything that runs write; None for ``$LTX_ROOT``, else ``multirun``.
        uri: the tracking store; None for the database below ``root``.
        experiment_name: MLflow's experiment that the run lies in, as ``tracking.experiment_name``.
        plugins: the plugin files that may be imported for it. A record alone never makes code run: a run that needs
            a file which is not listed here is refused.

    Raises:
        ConfigError: nothing is recorded there, there is no such MLflow experiment or no such run, or as
            :func:`load_from`.
    """
    store = recorded_at(root, uri=uri, experiment_name=experiment_name)
    return load_from(store, find_run(store, run).run_id, plugins=plugins)


def load_from(
    store: Store, run_id: str, *, plugins: Sequence[str | Path] = (), device: torch.device | str = "cpu"
) -> LoadedRun:
    """Rebuild a run of a store; as :func:`load_run`.

    Args:
        store: where it is recorded.
        run_id: its whole id.
        plugins: as of :func:`load_run`.
        device: where the model is to be; ``"meta"`` for shapes alone.

    Raises:
        ConfigError: the run has no weights, or needs a plugin file that is not listed.
        TrackingError: there is no such run.
    """
    record, config = store.run(run_id), store.config(run_id)
    admit(record, store, plugins)
    tokenizers, weights = tokenizers_of(store, run_id), weights_of(store, run_id)
    classes = record.params.get(names.NUM_CLASSES)
    sizes = sizes_of(tokenizers, None if classes is None else int(classes))
    model = build_model(config, **asdict(sizes), head=TASK.create(config["task"]).head, device=device)
    fill(model, Weights.read(weights, device))
    return LoadedRun(record, config, model.eval(), tokenizers)
