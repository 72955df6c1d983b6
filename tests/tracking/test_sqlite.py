import sqlite3
import subprocess
import threading
from contextlib import closing

import pytest
from mlflow.store.db.utils import _get_latest_schema_revision

from lightning_tx.tracking.errors import StoreUnavailable
from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.sqlite import _revisions, advice
from lightning_tx.tracking.store import Store

OPEN = (Store.open, Store.get)
IMPATIENT = TrackingOptions(patience_seconds=0.1)


def not_a_database(path):
    path.write_bytes(b"no database at all" * 300)


def damaged(path):
    content = bytearray(path.read_bytes())
    content[100:3000] = b"\xff" * 2900
    path.write_bytes(content)


def schema(version):
    def write(path):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (version,))

    return write


@pytest.mark.parametrize("open_store", OPEN)
@pytest.mark.parametrize(
    ("break_it", "what"),
    [
        (not_a_database, "is not a SQLite database. Correct tracking.uri"),
        (damaged, "is damaged. Restore a copy"),
        (schema("0123456789ab"), r"was written by a newer MLflow .*pip install --upgrade 'mlflow>3\."),
        (schema("451aebb31d03"), "was written by an older MLflow. .* mlflow db upgrade sqlite:///"),
    ],
)
def test_a_database_that_cannot_be_used_is_left_as_it_is(root, caplog, open_store, break_it, what):
    database = root / "mlflow.db"
    break_it(database)
    before = database.read_bytes()
    with pytest.raises(StoreUnavailable, match=what) as caught:
        open_store(root, IMPATIENT)
    message = str(caught.value)
    assert str(database) in message and "\n" not in message and "sqlalchemy" not in message.lower()
    assert database.read_bytes() == before and caplog.text == ""


def test_a_database_of_an_older_mlflow_is_brought_up_to_date_as_the_message_says(tmp_path):
    """The tables as they were at a schema of that time, made by MLflow's own migrations."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    root = tmp_path / "a root's folder"
    root.mkdir()
    uri = f"sqlite:///{root}/mlflow.db"
    Base.metadata.create_all(create_sqlalchemy_engine(uri))
    command.upgrade(_get_alembic_config(uri), "cc1f77228345")
    with pytest.raises(StoreUnavailable, match=r"older MLflow\. Copy it, then bring it up to date: ") as caught:
        Store.open(root)
    subprocess.run(str(caught.value).rpartition("up to date: ")[2], shell=True, check=True, capture_output=True)
    store = Store.open(root)
    assert store.run(store.create_run("a", {})).name == "a"


def test_a_locked_database_is_waited_for(root):
    database = root / "mlflow.db"
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match=rf"{database} is locked by another process\. Wait"):
            Store.open(root, IMPATIENT)
        threading.Timer(0.3, holder.execute, ("ROLLBACK",)).start()
        assert Store.open(root, TrackingOptions(patience_seconds=30)).runs() == []


def test_a_full_disk_while_a_run_records(root, caplog):
    store = Store.open(root)
    run_id = store.create_run("run", {})
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    limit_pages(store, pages)
    with pytest.raises(StoreUnavailable, match=r"mlflow\.db has no space left on its disk") as caught:
        store.log_params(run_id, {f"key{number}": "x" * 6000 for number in range(50)})
    assert "\n" not in str(caught.value) and caplog.text == ""
    assert store.run(run_id).params == {}


def limit_pages(store, pages):
    """SQLite's own way to say that a file may not grow, in the connections that MLflow has and will have."""
    from sqlalchemy import event

    engine = store.client._tracking_client.store.engine
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))


@pytest.mark.parametrize(
    ("message", "what"),
    [("attempt to write a readonly database", "cannot be written"), ("unable to open database file", "be opened")],
)
def test_messages_of_sqlite_become_sentences(tmp_path, message, what):
    assert what in advice(tmp_path / "mlflow.db", f"(sqlite3.OperationalError) {message}\n[SQL: ...]")
    assert advice(tmp_path, "something else") is None


def test_the_newest_schema_is_the_one_that_mlflow_asks_for():
    known, newest = _revisions()
    assert newest == _get_latest_schema_revision() and "451aebb31d03" in known
