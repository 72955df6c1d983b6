"""A run that starts from the weights of another: ``init_from``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lightning_tx.core import registry
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.weights import load_weights
from lightning_tx.runs.loading import WEIGHTS
from lightning_tx.tracking.errors import TrackingError
from lightning_tx.tracking.store import Store


def start_from(net: nn.Module, config: Mapping[str, Any], store: Store) -> None:
    """Fill the model with the weights of the run ``init_from``; an adapter of its own stays as initialised."""
    new = registry.create("adapter", config["adapter"]).state_dict(net)
    path = start_weights(config, store)
    try:
        load_weights(net, path, may_lack=new)
    except ConfigError as error:
        raise ConfigError(f"init_from: {config['init_from']!r}: {error}") from error


def start_weights(config: Mapping[str, Any], store: Store) -> Path:
    """The weights of the run ``init_from``.

    Raises:
        ConfigError: there is no such run, or it has left none.
    """
    try:
        return store.artifact_path(config["init_from"], WEIGHTS)
    except TrackingError as error:
        raise ConfigError(f"init_from: {config['init_from']!r}: {error}") from error
