from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_tx.runs import plugin_files

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def plugins() -> Iterator[str]:
    """The files of this folder, imported for a test; the override that lists them."""
    files = [HERE / f"{name}.py" for name in ("gru", "bag_of_words", "classification")]
    plugin_files.load_files(files)
    yield f"plugins=[{','.join(map(str, files))}]"
    plugin_files.forget()
