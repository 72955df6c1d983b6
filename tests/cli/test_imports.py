"""Imports of large libraries leave the process as ordinary imports do."""

import gc
import subprocess
import sys

import pytest

from lightning_tx.cli.imports import bulk_imports


def test_the_garbage_collector_works_again_after_imports() -> None:
    frozen = gc.get_freeze_count()
    with bulk_imports():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() == frozen  # nothing was imported
    with pytest.raises(ImportError), bulk_imports():
        import lightning_tx.no_such_module  # type: ignore  # noqa: F401
    assert gc.isenabled()


def test_a_paused_garbage_collector_stays_paused() -> None:
    gc.disable()
    try:
        with bulk_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def in_another_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_torchmetrics_is_whole_once_more_of_it_is_asked_for() -> None:
    """Lightning is content with two classes; they are those of the whole package, which any other name brings."""
    code = """
import sys
from lightning_tx.cli.imports import import_torchmetrics
import_torchmetrics()
import pytorch_lightning
import torchmetrics
from torchmetrics import Metric, MetricCollection
assert "torchmetrics.functional.text" not in sys.modules and "scipy.signal" not in sys.modules
from torchmetrics import MeanMetric
from torchmetrics.text import BLEUScore
assert issubclass(MeanMetric, Metric) and issubclass(BLEUScore, Metric) and torchmetrics.Metric is Metric
assert torchmetrics.MetricCollection is MetricCollection and type(torchmetrics) is type(sys)
assert "scipy.signal" in sys.modules and torchmetrics.__version__
try:
    torchmetrics.no_such_name
except AttributeError as error:
    print(error)
"""
    assert "no_such_name" in in_another_process(code)


def test_a_torchmetrics_that_needs_more_of_itself_is_imported_whole() -> None:
    code = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torchmetrics.utilities" and "torchmetrics.functional" not in sys.modules:
            sys.meta_path.remove(self)
            raise ImportError("a circle")
sys.meta_path.insert(0, Broken())
from lightning_tx.cli.imports import import_torchmetrics
import_torchmetrics()
import torchmetrics
print(torchmetrics.MeanMetric.__name__, "scipy.signal" in sys.modules)
"""
    assert in_another_process(code).split() == ["MeanMetric", "True"]


def test_help_and_completion_import_no_large_library() -> None:
    code = """
import sys, io
from lightning_tx.cli import main
for line in (["--help"], ["completion", "words", "2", "ltx", "train", "posit"]):
    try:
        main(line)
    except SystemExit:
        pass
large = {"torch", "mlflow", "pytorch_lightning", "torchmetrics", "numpy", "pandas"}
print("large:", sorted(large & {name.partition(".")[0] for name in sys.modules}))
"""
    assert "large: []" in in_another_process(code)
