"""A tracking server that is down before, during and after training: nothing that was recorded is lost."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.sender import UNSENT_FILE
from lightning_tx.tracking.store import Store
from tests.faults import processes
from tests.faults.test_kills import curves
from tests.faults.writes import install
from tests.tiny import tiny_overrides


class Outage:
    """Ends a server when a file is about to be written whose name has a word in it.

    Args:
        server: the process group of the server.
        word: part of the name.
    """

    def __init__(self, server: int, word: str) -> None:
        self.server, self.word = server, word

    def write(self, label, data, write):
        if self.server and self.word in label:
            os.killpg(self.server, signal.SIGKILL)
            self.server = 0
        return write(data)

    def replace(self, label, replace):
        replace()

    def commit(self, label, database, connection, commit):
        commit()


def arm(folder: Path, server: int, word: str) -> None:
    install(folder, Outage(server, word))


@contextmanager
def serving(folder: Path, port: int) -> Iterator[int]:
    """A tracking server on a database and artifacts in ``folder``; gives its process group."""
    uri, files = f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--artifacts-destination", files]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, "the server did not start"
                time.sleep(0.2)
        yield server.pid
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.slow
def test_a_server_that_stops_before_during_and_after_training(template, tmp_path: Path, text: Path) -> None:
    (served := tmp_path / "server").mkdir()
    served.joinpath("mlflow.db").write_bytes(template.read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root, uri, output = tmp_path / "multirun", f"http://127.0.0.1:{port}", tmp_path / "output"
    impatient = ("tracking.patience_seconds=0", "tracking.max_retries=0", "tracking.timeout_seconds=20")
    command = ["train", *tiny_overrides(root, text, *impatient, "tracking.flush_seconds=3600"), f"tracking.uri={uri}"]

    assert processes.ltx(command, output) == 1
    assert f"no MLflow server answers at {uri}" in output.read_text()
    assert not (root / "runs").exists()

    with serving(served, port) as group:
        assert processes.ltx(command, output, partial(arm, root, group, "last.ckpt")) == 1
    assert UNSENT_FILE in output.read_text().replace("\n", "") and "Traceback" not in output.read_text()
    (journal,) = root.glob(f"runs/*/{UNSENT_FILE}")
    assert "train/loss" in journal.read_text()

    with serving(served, port) as group:
        assert processes.ltx(command, output, partial(arm, root, group, "model.safetensors")) == 1
    assert "Traceback" not in output.read_text()

    with serving(served, port):
        assert processes.ltx(command, output) == 0, output.read_text()
        store = Store.get(root, TrackingOptions(uri=uri))
        (run,) = store.runs()
        there = list(curves(store).values())
    assert run.status == "FINISHED" and list(root.rglob(UNSENT_FILE)) == []

    alone = tmp_path / "alone"
    assert processes.ltx(["train", *tiny_overrides(alone, text)], output) == 0
    assert there == list(curves(Store.get(alone)).values())
