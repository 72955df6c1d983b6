"""lightning_tx: ablations of Transformers, from one override to a tracked effect.

The names below are imported when first used, so that the command line starts quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_tx.cli.compose import compose as compose
    from lightning_tx.groups import register as register
    from lightning_tx.model.build import build_model as build_model
    from lightning_tx.runs.loading import load_run as load_run

__version__ = "0.1.0"

_HOMES = {
    "build_model": "lightning_tx.model.build",
    "compose": "lightning_tx.cli.compose",
    "load_run": "lightning_tx.runs.loading",
    "register": "lightning_tx.groups",
}
__all__ = ["__version__", "build_model", "compose", "load_run", "register"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
