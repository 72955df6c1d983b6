import sqlite3
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
        (schema("0123456789ab"), "was written by a newer MLflow .* Update mlflow"),
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
