"""The store that a config records to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_tx.core import registry
from lightning_tx.tracking.store import Mlflow, Store


def open_store(config: Mapping[str, Any]) -> Store:
    """The store that a config records to."""
    tracking: Mlflow = registry.create("tracking", config["tracking"], Path(config["root"]))
    return tracking.open()
