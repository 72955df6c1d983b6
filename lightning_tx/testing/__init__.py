"""The conformance suite: what holds for every component of lightning_tx, built-in or a third party's.

A test file of a plugin needs two lines::

    from lightning_tx.testing import conformance

    test_conforms = conformance("feed_forward/reglu")

and ``ltx check feed_forward/reglu`` says the same on the command line. The names below are imported when first used,
so that pytest starts quickly where the plugin is installed and not used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_tx.testing.combinations import excluded_pairs as excluded_pairs
    from lightning_tx.testing.property import PROPERTIES as PROPERTIES
    from lightning_tx.testing.pytest_cases import conformance as conformance
    from lightning_tx.testing.results import ConformanceError as ConformanceError
    from lightning_tx.testing.results import Failure as Failure
    from lightning_tx.testing.suite import check_choice as check_choice

_HOMES = {
    "PROPERTIES": "lightning_tx.testing.properties",
    "ConformanceError": "lightning_tx.testing.results",
    "Failure": "lightning_tx.testing.results",
    "check_choice": "lightning_tx.testing.suite",
    "conformance": "lightning_tx.testing.pytest_cases",
    "excluded_pairs": "lightning_tx.testing.combinations",
}
__all__ = ["PROPERTIES", "ConformanceError", "Failure", "check_choice", "conformance", "excluded_pairs"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
