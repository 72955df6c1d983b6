"""A run that starts from the weights of another: ``init_from``."""

from pathlib import Path

from torch import nn

from lightning_tx.components.adapter.base import Adapter
from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.weights import load_weights
from lightning_tx.tracking.errors import TrackingError
from lightning_tx.tracking.store import Store


def start_from(model: nn.Module, adapter: Adapter, run_id: str, store: Store) -> None:
    """Fill a model with the weights of another run; an adapter of its own stays as initialised.

    Args:
        model: the model.
        adapter: the adapter that was applied to it.
        run_id: the other run, as ``init_from`` has it.
        store: where the other run is recorded.

    Raises:
        ConfigError: there is no such run, or its weights are those of another model.
    """
    path = start_weights(run_id, store)
    try:
        load_weights(model, path, may_lack=adapter.state_dict(model))
    except ConfigError as error:
        raise ConfigError(f"init_from: {run_id!r}: {error}") from error


def start_weights(run_id: str, store: Store) -> Path:
    """The weights of the run ``init_from``.

    Raises:
        ConfigError: there is no such run, or it has left none.
    """

    try:
        return store.artifact_path(run_id, names.WEIGHTS_FILE)
    except TrackingError as error:
        raise ConfigError(f"init_from: {run_id!r}: {error}") from error
