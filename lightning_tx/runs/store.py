"""The store that a config records to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.package import default_root
from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.store import Store


def open_store(raw: Mapping[str, Any]) -> Store:
    """The store that a config, plain values, records to.

    Raises:
        ConfigError: its options have a problem, or its folder cannot be written.
    """
    return Store.open(_root(raw), TrackingOptions.parse(raw.get("tracking", {})))


def get_store(raw: Mapping[str, Any]) -> Store:
    """The same to read from; nothing is created.

    Raises:
        ConfigError: its options have a problem, or nothing is recorded there.
    """
    return Store.get(_root(raw), TrackingOptions.parse(raw.get("tracking", {})))


def recorded_at(root: str | Path | None = None, **tracking: Any) -> Store:
    """The store to read from that a folder and options of ``tracking`` name; nothing is created.

    Args:
        root: the folder of everything that runs write; None for ``$LTX_ROOT``, else ``multirun``.
        tracking: options of ``tracking``, those left out at their defaults.

    Raises:
        ConfigError: an option has a problem, nothing is recorded there, or ``$LTX_ROOT`` is empty.
    """
    return get_store({"root": root or default_root(), "tracking": tracking})


def _root(raw: Mapping[str, Any]) -> Path:
    root = raw["root"]
    if not isinstance(root, str | Path) or not str(root):
        raise ConfigError(f"root: {root!r} is no name of a folder.")
    return Path(root)
