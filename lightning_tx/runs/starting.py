"""A run that starts from the weights of another: ``init_from``."""

from collections.abc import Callable
from pathlib import Path

from lightning_tx.components.adapter.base import Adapter
from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.body import Body
from lightning_tx.model.weights import check_body, load_body
from lightning_tx.tracking.errors import TrackingError
from lightning_tx.tracking.store import Store


def start_from(model: Body, adapter: Adapter, run_id: str, store: Store) -> bool:
    """Fill a model with the weights of another run; an adapter of its own stays as initialised.

    So does its head where the other run's is of another kind or size, as after pre-training on another task.

    Args:
        model: the model.
        adapter: the adapter that was applied to it.
        run_id: the other run, as ``init_from`` has it.
        store: where the other run is recorded.

    Returns:
        Whether the head was filled too.

    Raises:
        ConfigError: there is no such run, its weights are those of another body, or a head that stays as initialised is
            not trained.
    """
    return _started(load_body, model, adapter, run_id, store)


def check_start(model: Body, adapter: Adapter, run_id: str, store: Store) -> bool:
    """What :func:`start_from` would do, of a model that may have shapes alone.

    Raises:
        ConfigError: as :func:`start_from`.
    """
    return _started(check_body, model, adapter, run_id, store)


def _started(take: Callable[..., bool], model: Body, adapter: Adapter, run_id: str, store: Store) -> bool:
    path = start_weights(run_id, store)
    try:
        taken = take(model, path, may_lack=adapter.state_dict(model))
    except ConfigError as error:
        raise ConfigError(f"init_from: {run_id!r}: {error}") from error
    if not taken and not any(parameter.requires_grad for parameter in model.head.parameters()):
        raise ConfigError(
            f"init_from: {run_id!r} has no head {model.head.name!r} of this size: it would start fresh and stay so; "
            "train it by adapter=none, or by adapter=last_layer with adapter.head=true."
        )
    return taken


def start_weights(run_id: str, store: Store) -> Path:
    """The weights of the run ``init_from``.

    Raises:
        ConfigError: there is no such run, or it has left none.
    """
    try:
        return store.artifact_path(run_id, names.WEIGHTS_FILE)
    except TrackingError as error:
        raise ConfigError(f"init_from: {run_id!r}: {error}") from error
