"""lightning_tx: ablations of Transformers, from one override to a tracked effect.

The names below are imported when first used, so that the command line starts quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_tx.api import evaluate as evaluate
    from lightning_tx.api import generate as generate
    from lightning_tx.api import load_study as load_study
    from lightning_tx.api import report as report
    from lightning_tx.api import sweep as sweep
    from lightning_tx.api import train as train
    from lightning_tx.cli.compose import compose as compose
    from lightning_tx.groups import register as register
    from lightning_tx.model.build import build_model as build_model
    from lightning_tx.runs.loading import load_run as load_run

__version__ = "0.1.0"

_HOMES = {
    "build_model": "lightning_tx.model.build",
    "compose": "lightning_tx.cli.compose",
    "evaluate": "lightning_tx.api",
    "generate": "lightning_tx.api",
    "load_run": "lightning_tx.runs.loading",
    "load_study": "lightning_tx.api",
    "register": "lightning_tx.groups",
    "report": "lightning_tx.api",
    "sweep": "lightning_tx.api",
    "train": "lightning_tx.api",
}
__all__ = [
    "__version__",
    "build_model",
    "compose",
    "evaluate",
    "generate",
    "load_run",
    "load_study",
    "register",
    "report",
    "sweep",
    "train",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
