import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

# Before torch is imported: tests run side by side, and threads that wait for each other slow all of them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from lightning_tx.tracking.store import Store
from tests.tiny import TEXT

# A shell that starts jobs in the background has them ignore Ctrl-C; what is tested here is how it is obeyed.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A store's database, created once: MLflow takes seconds for it."""
    root = tmp_path_factory.mktemp("template")
    Store.open(root)
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root / "mlflow.db"


@pytest.fixture
def root(template, tmp_path) -> Path:
    """A run folder with an empty store."""
    folder = tmp_path / "multirun"
    folder.mkdir()
    shutil.copyfile(template, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """A file of text that a model of a few hundred parameters can learn something from."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path
