"""Real processes: first use by several at once, signals, and deaths."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lightning_tx.tracking.errors import RunBusy
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store
from tests.tracking import workers


def reopened(root, identity="abc123"):
    return TrackedRun(Store.open(root), name="run", identity=identity, config={"a": 1}, choices={})


def test_four_processes_create_one_store_one_study_and_all_their_runs(tmp_path):
    barrier = workers.processes.Barrier(4)
    started = [workers.start(workers.open_at_once, tmp_path, barrier, number) for number in range(4)]
    for process in started:
        process.join(workers.WAIT_SECONDS)
    assert [process.exitcode for process in started] == [0, 0, 0, 0]

    store = Store.open(tmp_path)
    [parent] = store.studies()
    assert sorted(parent.tags["ltx.overrides"].split()) == [f"seed={number}" for number in range(4)]
    runs = store.runs("race")
    assert sorted(run.metrics["train/loss"] for run in runs) == [0.0, 1.0, 2.0, 3.0]
    assert {run.tags["mlflow.parentRunId"] for run in runs} == {parent.run_id}
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM experiments").fetchone() == (2,)  # MLflow's Default and ours


def test_eight_threads_of_a_new_process_create_one_store(tmp_path):
    code = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from lightning_tx.tracking.store import Store\n"
        "barrier, stores = threading.Barrier(8), []\n"
        "def use(number):\n"
        "    barrier.wait()\n"
        "    store = Store.open(Path(sys.argv[1]))\n"
        "    store.end_run(store.create_run(str(number), {'ltx.kind': 'run'}), 'FINISHED')\n"
        "    stores.append(len(store.runs()))\n"
        "threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "assert len(stores) == 8\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(run.name for run in Store.open(tmp_path).runs()) == [str(number) for number in range(8)]


def test_of_two_processes_that_start_one_run_one_is_told_that_it_is_busy(root):
    barrier, results = workers.processes.Barrier(2), workers.processes.Queue()
    started = [workers.start(workers.start_the_same_run, root, barrier, results) for _ in range(2)]
    outcomes = sorted(results.get(timeout=workers.WAIT_SECONDS) for _ in range(2))
    for process in started:
        process.join(workers.WAIT_SECONDS)
    [run] = Store.open(root).runs()
    assert outcomes == sorted(["RunBusy", run.run_id])
    assert run.status == "FINISHED"


def test_a_failing_process_leaves_status_reason_and_traceback(root):
    process = workers.start(workers.fail, root)
    process.join(workers.WAIT_SECONDS)
    assert process.exitcode == 1
    store = Store.open(root)
    [run] = store.runs()
    assert run.status == "FAILED"
    assert run.end_time is not None
    assert run.tags["ltx.reason"] == "ValueError: the loss is gone"
    written = store.artifact_path(run.run_id, "traceback.txt").read_text()
    assert "in fail" in written
    assert "and so is the second line" in written


@pytest.mark.parametrize(
    ("signum", "code", "reason"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")]
)
def test_a_signal_kills_the_run_and_decides_the_exit_code(root, tmp_path, signum, code, reason):
    process = workers.start(workers.train_until_signal, root, tmp_path / "ready")
    workers.wait_for(tmp_path / "ready")
    os.kill(process.pid, signum)
    process.join(workers.WAIT_SECONDS)
    assert process.exitcode == code
    store = Store.open(root)
    [run] = store.runs()
    assert run.status == "KILLED"
    assert reason in run.tags["ltx.reason"]
    assert store.history(run.run_id, "train/loss") == [(0, 1.5), (1, 1.25)]  # what waited was sent
    with reopened(root) as again:
        assert again.run_id == run.run_id
    assert "ltx.reason" not in store.run(run.run_id).tags


def test_a_process_that_dies_frees_its_run_for_the_next_one(root, tmp_path):
    process = workers.start(workers.train_until_signal, root, tmp_path / "ready")
    workers.wait_for(tmp_path / "ready")
    run_id = (tmp_path / "ready").read_text()

    store = Store.open(root)
    with pytest.raises(RunBusy, match=rf"still trained by process {process.pid} on "), reopened(root):
        pass
    assert store.run(run_id).status == "RUNNING"  # being refused changes nothing

    process.kill()
    process.join(workers.WAIT_SECONDS)
    assert store.run(run_id).status == "RUNNING"
    with reopened(root) as run:
        assert (run.run_id, run.resumed) == (run_id, True)
        run.log_metrics({"train/loss": 99.0}, 0)  # the replay of what was recorded before
        run.log_metrics({"train/loss": 1.25}, 1)
    assert store.history(run_id, "train/loss") == [(0, 1.5), (1, 1.25)]
    assert store.run(run_id).status == "FINISHED"
    assert store.run(run_id).tags["ltx.resumed"] == "1"


def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(root, tmp_path):
    process = workers.start(workers.hold_children, root, tmp_path / "ready")
    workers.wait_for(tmp_path / "ready")
    process.kill()
    process.join(workers.WAIT_SECONDS)
    run_id = (tmp_path / "ready").read_text()
    try:
        with reopened(root) as run:
            assert run.run_id == run_id
    finally:
        os.kill(int(Path(root, "runs", run_id, "child").read_text()), signal.SIGKILL)
