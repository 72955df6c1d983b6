"""The pytest plugin: a component that does not conform is reported in its own words, without a traceback.

Installed with lightning_tx; imports neither torch nor the suite.
"""

from collections.abc import Generator
from typing import Any

import pytest

from lightning_tx.testing.results import ConformanceError


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, Any]:
    """Replace the traceback of a :class:`ConformanceError` by its message."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, ConformanceError):
        report.longrepr = str(call.excinfo.value)
    return report
