import shutil
import uuid
from functools import partial

import pytest

from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """Opening a store sets MLflow's environment variables: every test puts them back."""
    for name in (
        "MLFLOW_HTTP_REQUEST_TIMEOUT",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        "MLFLOW_DISABLE_TELEMETRY",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR",
        "MLFLOW_RUN_ID",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_commit(monkeypatch):
    """The code under test is in no commit, so that what is recorded does not depend on the state of a checkout."""
    monkeypatch.setattr("lightning_tx.tracking.run.code_state", lambda: None)


@pytest.fixture(scope="session")
def shared(template, tmp_path_factory) -> str:
    """The uri of a database for all tests that need no file of their own: MLflow opens it once."""
    database = tmp_path_factory.mktemp("shared") / "mlflow.db"
    shutil.copyfile(template, database)
    return f"sqlite:///{database}"


@pytest.fixture
def store(shared, tmp_path) -> Store:
    """An empty store: an MLflow experiment of its own in the shared database."""
    options = TrackingOptions(
        uri=shared,
        experiment_name=uuid.uuid4().hex,
        flush_seconds=0.2,
        patience_seconds=0.0,
    )
    return Store.open(tmp_path / "multirun", options)


@pytest.fixture
def tracked(store) -> partial[TrackedRun]:
    """Makes runs with everything filled in; a test names what it is about."""
    return partial(
        TrackedRun,
        store,
        name="run",
        identity="abc123",
        config={"model": {"d_model": 32, "name": "decoder"}, "seed": 7},
        choices={"positions": "rope", "attention": "gqa"},
        seed=7,
    )
