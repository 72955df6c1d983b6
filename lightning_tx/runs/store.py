"""The store that a config records to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_tx.tracking.store import TRACKING, Store


def open_store(raw: Mapping[str, Any]) -> Store:
    """The store that a config, plain values, records to.

    Raises:
        ConfigError: its options have a problem.
    """
    return TRACKING.create(raw["tracking"], Path(raw["root"])).open()
