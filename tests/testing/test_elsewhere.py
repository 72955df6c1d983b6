"""Properties that ask another process, for classes that stand where plugins stand."""

from pathlib import Path

import pytest

from lightning_tx.runs import plugin_files
from lightning_tx.testing.component import Component
from lightning_tx.testing.elsewhere import digests_elsewhere
from lightning_tx.testing.results import NotApplicable
from tests.testing.imported_elsewhere import Numbers
from tests.testing.planted import planted, property_named

PLUGIN = '''
from pathlib import Path
from lightning_tx import register
from lightning_tx.data.base import Data, Splits


@register("data", "elsewhere_numbers")
class ElsewhereNumbers(Data[str]):
    """Numbers."""

    def __init__(self, *, size: int = 50) -> None:
        self.size = size

    def load(self, cache: Path) -> Splits[str]:
        """Split them."""
        texts = [str(number) for number in {order}]
        return Splits(texts[10:], texts[:10], [])
'''


@pytest.mark.parametrize(
    ("order", "status"), [("range(self.size)", "passed"), ("set(map(str, range(self.size)))", "failed")]
)
def test_a_class_of_a_plugin_file(tmp_path: Path, order: str, status: str) -> None:
    file = tmp_path / f"elsewhere_{status}.py"
    file.write_text(PLUGIN.replace("{order}", order))
    plugin_files.load_files([file])
    try:
        subject = Component("data", "elsewhere_numbers", {"name": "elsewhere_numbers", "size": 30})
        assert property_named("splits_stay").run(subject).status == status
    finally:
        plugin_files.forget()


def test_a_class_of_a_function_is_not_asked() -> None:
    class Local(Numbers):
        pass

    with planted("data", Local) as config:
        result = property_named("splits_stay").run(Component("data", "local", config))
    assert (result.status, result.reason) == (
        "skipped",
        "a class that a function made cannot be imported by another process",
    )
    with pytest.raises(NotApplicable), digests_elsewhere(Local, {}):
        pass


def test_data_that_read_what_is_not_here_are_not_asked() -> None:
    class Far(Numbers):
        def __init__(self, *, path: str) -> None:
            self.path = path

    with planted("data", Far) as config:
        result = property_named("splits_do_not_overlap").run(Component("data", "far", {**config, "path": "/nowhere"}))
    assert (result.status, result.reason) == (
        "skipped",
        "it reads what its options point at, and has no example of that",
    )
