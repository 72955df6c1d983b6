"""Large libraries imported cheaply: without the garbage collector, and without what training does not use."""

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


@contextmanager
def bulk_imports() -> Iterator[None]:
    """Pause the garbage collector for the imports inside the block.

    It would look through everything that was imported time and again, and find nothing to throw away: that takes a
    third of the time. What was imported stays for good, so that later collections do not look at it either.
    """
    known, was_on = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if was_on:
            gc.enable()


class _Deferred(ModuleType):
    """A package whose own code runs when a name is asked for that it does not have yet."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        object.__setattr__(self, "__class__", ModuleType)
        assert self.__spec__ is not None and self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def import_torchmetrics() -> None:
    """Import the two base classes that Lightning needs of torchmetrics, and the rest when it is first asked for.

    The rest takes a second: with it come scipy.signal and, where it is installed, transformers. A release whose base
    classes need more of it is imported whole.
    """
    if "torchmetrics" in sys.modules:
        return
    spec = find_spec("torchmetrics")
    assert spec is not None
    package: Any = module_from_spec(spec)
    package.__class__ = _Deferred
    package._logger = logging.getLogger("torchmetrics")  # its submodules take it from the package
    sys.modules["torchmetrics"] = package
    try:
        import_module("torchmetrics.utilities")  # before the others, as in the package itself
        package.Metric = import_module("torchmetrics.metric").Metric
        package.MetricCollection = import_module("torchmetrics.collections").MetricCollection
    except ImportError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
            del sys.modules[name]
        import_module("torchmetrics")
