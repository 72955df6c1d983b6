import logging
import math
import shutil
import socket
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from lightning_tx.core.errors import ConfigError
from lightning_tx.tracking.errors import StoreUnavailable, TrackingError
from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from lightning_tx.tracking.values import Point


def points(key, values, start=0):
    return [Point(key, value, 1_700_000_000_000 + step, step) for step, value in enumerate(values, start)]


def test_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"root: .*file/runs.* cannot be used as the run folder"):
        Store.open(tmp_path / "file" / "runs")


def test_a_database_whose_creation_is_cut_off_is_not_there(tmp_path, monkeypatch):
    def cut_off(uri, artifacts):
        Path(uri.removeprefix("sqlite:///")).touch()
        raise SystemExit(143)

    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore", cut_off)
    with pytest.raises(SystemExit):
        Store.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "mlflow.db" in path.name and path.suffix != ".lock"] == []


def test_a_dead_server_is_reported_in_seconds(tmp_path):
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(
        StoreUnavailable, match=rf"tracking\.uri: no MLflow server answers at http://127\.0\.0\.1:{port}"
    ):
        Store.open(tmp_path, TrackingOptions(uri=f"http://user:secret@127.0.0.1:{port}"))
    assert time.monotonic() - began < 10


def test_a_server_that_accepts_and_says_nothing_is_reported_too(tmp_path):
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            Store.open(tmp_path, TrackingOptions(uri=uri, timeout_seconds=1))
    assert time.monotonic() - began < 10
    assert "secret" not in str(caught.value)


def test_a_deleted_experiment_is_reported(root):
    store = Store.open(root)
    run_id = store.create_run("a", {"ltx.kind": "run"})
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(ConfigError, match=r"tracking\.experiment_name: 'lightning_tx' was deleted") as caught:
        Store.open(root)
    subprocess.run(str(caught.value).rpartition("with its runs: ")[2], shell=True, check=True, capture_output=True)
    assert [run.run_id for run in Store.open(root).runs()] == [run_id]


def test_opening_twice_and_quietly(root, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "left behind")
    with caplog.at_level(logging.INFO):
        first, second = Store.open(root), Store.open(root)
    assert first.experiment_id == second.experiment_id
    assert [record for record in caplog.records if record.name.startswith(("mlflow", "alembic"))] == []
    import os

    assert "MLFLOW_RUN_ID" not in os.environ


def test_a_moved_folder_takes_its_artifacts_along(root, tmp_path):
    store = Store.open(root)
    run_id = store.create_run("a", {})
    store.log_text(run_id, "notes/a.txt", "kept")
    other = Store.open(store.root, TrackingOptions(experiment_name="other"))
    other_run = other.create_run("b", {})

    moved = tmp_path / "moved run #2"
    shutil.copytree(store.root, moved)
    shutil.rmtree(store.root)
    _artifact_repos_cache.clear()  # the user's next process has none of this one's
    store = Store.open(moved)
    assert store.artifact_path(run_id, "notes/a.txt").read_text() == "kept"
    assert store.artifact_path(run_id, "notes/a.txt").is_relative_to(moved)
    store.log_text(run_id, "b.txt", "new")
    store.log_text(store.create_run("c", {}), "c.txt", "new")
    assert not (tmp_path / "multirun").exists()
    # Each experiment is moved when it is opened.
    assert "/multirun/" in store.client.get_run(other_run).info.artifact_uri


@pytest.mark.parametrize("database", ["inside", "elsewhere"])
def test_reading_a_moved_folder_writes_nothing_until_something_is_recorded(root, template, tmp_path, database):
    options = TrackingOptions()
    if database == "elsewhere":
        uri = f"sqlite:///{shutil.copyfile(template, tmp_path / 'elsewhere.db')}"
        options = TrackingOptions(uri=uri, experiment_name="mine")
    store = Store.open(root, options)
    study = Study.open(store, "s")
    run_id = store.create_run("a", {"ltx.kind": "run", "ltx.study": "s"})
    store.log_json(run_id, "config.json", {"a": 1})
    store.log_text(run_id, "notes/a.txt", "kept")
    moved = shutil.move(root, tmp_path / "moved")
    _artifact_repos_cache.clear()

    file = tmp_path / "elsewhere.db" if database == "elsewhere" else moved / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = file.read_bytes()
    store = Store.get(moved, options)
    (run,) = store.runs("s")
    assert store.config(run) == {"a": 1} == store.config(run_id) and store.configs([run]) == {run_id: {"a": 1}}
    assert store.artifacts(run_id) == ["config.json", "notes"] and store.artifacts(run_id, "notes") == ["notes/a.txt"]
    assert store.artifact_path(run_id, "notes/a.txt") == moved / "artifacts" / run_id / "artifacts" / "notes" / "a.txt"
    assert store.artifacts(study.run_id) == [] == store.artifacts(run_id, "nothing")
    assert file.read_bytes() == before and not any(file.parent.glob(f"{file.name}-wal*[1-9]"))

    Study.get(store, "s").log_text("report.md", "a report")
    assert store.artifact_path(study.run_id, "report.md").is_relative_to(moved)
    assert store.artifact_path(run_id, "notes/a.txt").read_text() == "kept" and not root.exists()
    with closing(sqlite3.connect(file)) as connection:
        assert str(root) not in "\n".join(connection.iterdump())


def test_runs_written_by_the_store_are_read_back_by_plain_mlflow(store):
    run_id = store.create_run("first", {"ltx.kind": "run", "long": "x" * 9000})
    differing = store.log_params(run_id, {f"key{number}": str(number) for number in range(250)})
    assert differing == {}
    store.log_points(run_id, points("train/loss", [float(step) for step in range(2500)]))
    store.end_run(run_id, "FINISHED")

    run = MlflowClient(store.uri).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {f"key{number}": str(number) for number in range(250)}
    assert run.data.metrics == {"train/loss": 2499.0}
    assert len(run.data.tags["long"]) == 8000
    assert store.history(run_id, "train/loss") == [(step, float(step)) for step in range(2500)]


def test_parameters_never_change_and_the_difference_is_told(store):
    run_id = store.create_run("a", {})
    store.log_params(run_id, {"a": "1", "b": "2"})
    assert store.log_params(run_id, {"a": "1", "b": "3", "c": "4"}) == {"b": ("2", "3")}
    assert store.run(run_id).params == {"a": "1", "b": "2", "c": "4"}


def test_a_point_that_is_sent_twice_is_recorded_once(store):
    run_id = store.create_run("a", {})
    for _ in range(2):
        store.log_points(run_id, points("val/loss", [3.0, math.nan, math.inf, -math.inf]))
    steps, values = zip(*store.history(run_id, "val/loss"), strict=True)
    assert steps == (0, 1, 2, 3)
    assert values[0] == 3.0
    assert math.isnan(values[1])
    assert values[2:] == (math.inf, -math.inf)
    assert store.run(run_id).metrics == {"val/loss": -math.inf}
    assert store.recorded_steps(run_id) == {("val/loss", step) for step in range(4)}


def test_records(store):
    study = Study.open(store, "s")
    tags = {"ltx.kind": "run", "ltx.identity": "i", "ltx.study": "s", "ablation.norm": "rmsnorm", "ablation.seed": "3"}
    run_id = store.create_run("name", tags)
    # Killed before the parameters were written, the tags say it.
    assert store.run(run_id).choices == {"norm": "rmsnorm"}
    store.log_params(run_id, {"ablation.norm": "rmsnorm", "ablation.seed": "3", "model.depth": "2"})
    record = store.run(run_id)
    assert (record.name, record.study, record.identity, record.seed) == ("name", "s", "i", 3)
    assert (record.status, record.finished, record.end_time) == ("RUNNING", False, None)
    assert record.choices == {"norm": "rmsnorm"}
    assert record.params == {"model.depth": "2"}
    assert abs(record.start_time.timestamp() - time.time()) < 60
    store.end_run(run_id, "FAILED")
    assert store.run(run_id).end_time >= record.start_time
    parent = store.run(study.run_id)
    assert (parent.study, parent.identity, parent.seed, parent.choices) == ("s", "", None, {})


def test_runs_are_found_by_study_and_identity(store):
    def create(identity, study=None, status="FINISHED"):
        tags = {"ltx.kind": "run", "ltx.identity": identity} | ({"ltx.study": study} if study else {})
        run_id = store.create_run(f"{study}-{identity}", tags)
        if status != "RUNNING":
            store.end_run(run_id, status)
        return run_id

    Study.open(store, "s")
    alone, in_s, in_t = create("i"), create("i", "s"), create("i", "t")
    failed, finished, running = create("j", "s", "FAILED"), create("j", "s"), create("j", "s", "RUNNING")
    newer = create("k", "s", "FAILED"), create("k", "s", "KILLED")
    deleted = create("l", "s")
    store.client.delete_run(deleted)

    assert store.find("i", None).run_id == alone
    assert store.find("i", "s").run_id == in_s
    assert store.find("j", "s").run_id == finished
    assert store.find("k", "s").run_id in newer
    assert store.find("l", "s") is None
    assert store.find("i", "u") is None
    assert store.find("it's", "s") is None
    assert {run.run_id for run in store.runs("s")} == {in_s, failed, finished, running, *newer}
    assert {run.run_id for run in store.runs()} == {alone, in_s, in_t, failed, finished, running, *newer}
    starts = [run.start_time for run in store.runs()]
    assert starts == sorted(starts)


def test_searching_goes_through_all_pages(store, monkeypatch):
    monkeypatch.setattr("lightning_tx.tracking.search._PAGE", 3)
    created = {store.create_run(str(number), {"ltx.kind": "run"}) for number in range(10)}
    assert {run.run_id for run in store.runs()} == created


def test_unknown_runs_and_artifacts_are_reported(store):
    with pytest.raises(TrackingError, match="0123"):
        store.run("0123")
    run_id = store.create_run("a", {})
    store.log_text(run_id, "b.txt", "")
    store.log_text(run_id, "a.txt", "")
    with pytest.raises(TrackingError, match=r"no artifact 'c\.txt'\. There are: a\.txt, b\.txt\."):
        store.artifact_path(run_id, "c.txt")
    with pytest.raises(TrackingError, match=r"no artifact 'config\.json'"):
        store.config(run_id)


def test_files_keep_the_name_they_are_given(store, tmp_path):
    run_id = store.create_run("a", {})
    (tmp_path / "source.csv").write_text("1,2")
    store.log_file(run_id, tmp_path / "source.csv", "tables/effects.csv")
    store.log_file(run_id, tmp_path / "source.csv", "source.csv")
    assert store.artifact_path(run_id, "tables/effects.csv").read_text() == "1,2"
    assert store.artifacts(run_id) == ["source.csv", "tables"]
    assert store.artifacts(run_id, "tables") == ["tables/effects.csv"]


def test_configs_of_many_runs_are_read_without_asking_the_store_for_each(store, tracked, monkeypatch):
    for identity in ("a", "b"):
        with tracked(identity=identity, config={"name": identity}):
            pass
    store.create_run("without a config", {"ltx.kind": "run"})
    with tracked(identity="damaged", config={}) as damaged:
        pass
    store.artifact_path(damaged.run_id, "config.json").write_text('{"half": ')
    runs = store.runs()
    asked = []
    monkeypatch.setattr(type(store.client), "get_run", lambda *arguments: asked.append(arguments))
    found = store.configs(runs)
    assert asked == [] and store.config(runs[0]) == {"name": "a"}
    assert sorted(config["name"] for config in found.values()) == ["a", "b"]
    assert set(found) == {run.run_id for run in runs if run.identity in ("a", "b")}


def test_a_store_that_does_not_answer_is_no_missing_config(store, tracked, monkeypatch):
    with tracked():
        pass
    runs = [replace(run, artifact_uri="mlflow-artifacts:/elsewhere") for run in store.runs()]

    def unavailable(*_):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(type(store), "_listed", unavailable)
    with pytest.raises(StoreUnavailable):
        store.configs(runs)


def test_content_is_text_or_bytes_as_they_are(store):
    run_id = store.create_run("run", {})
    store.log_content(run_id, "folder/a.txt", "ä\n")
    store.log_content(run_id, "folder/b.bin", b"\x00\xff")
    assert store.artifact_path(run_id, "folder/a.txt").read_text(encoding="utf-8") == "ä\n"
    assert store.artifact_path(run_id, "folder/b.bin").read_bytes() == b"\x00\xff"
