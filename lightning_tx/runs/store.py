"""The store that a config records to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.store import Store


def open_store(raw: Mapping[str, Any]) -> Store:
    """The store that a config, plain values, records to.

    Raises:
        ConfigError: its options have a problem, or its folder cannot be written.
    """
    return Store.open(Path(raw["root"]), TrackingOptions.parse(raw.get("tracking", {})))


def get_store(raw: Mapping[str, Any]) -> Store:
    """The same to read from; nothing is created.

    Raises:
        ConfigError: its options have a problem, or nothing is recorded there.
    """
    return Store.get(Path(raw["root"]), TrackingOptions.parse(raw.get("tracking", {})))
