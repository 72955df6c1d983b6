"""The server of ``ltx ui`` ends with the command, and starts only where it can."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from lightning_tx.cli import main, ui
from lightning_tx.core.errors import ConfigError


@pytest.fixture
def taken():
    """A port that something else listens on."""
    with closing(socket.create_server((ui.HOST, 0))) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with closing(socket.create_server((ui.HOST, 0))) as server:
        return server.getsockname()[1]


def test_a_port_that_is_taken_is_said_at_once(root, taken, capsys) -> None:
    assert main(["ui", "--root", str(root), "--port", str(taken)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and f"--port: {taken} is taken" in err and err.count("\n") == 1
    suggested = int(err.split("--port ")[-1])
    ui.require_usable(suggested)


@pytest.mark.parametrize("port", [-1, 0, 65536, 10**9])
def test_a_number_that_is_no_port_is_refused(port) -> None:
    with pytest.raises(ConfigError, match=f"--port: {port} is no port"):
        ui.require_usable(port)


@pytest.mark.parametrize(("number", "advice"), [(errno.EADDRNOTAVAIL, False), (errno.EACCES, True)])
def test_an_address_that_cannot_be_had_is_said(monkeypatch, number, advice) -> None:
    bind = socket.socket.bind

    def refuse(self, address):
        if address[1] == 80:
            raise OSError(number, os.strerror(number))
        bind(self, address)

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:80 cannot be used") as refused:
        ui.require_usable(80)
    assert os.strerror(number) in str(refused.value) and ("--port 50" in str(refused.value)) == advice


#: A server that starts another process, writes both ids to a file, and does not listen to signals.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(60)"])
with open(sys.argv[1] + ".partial", "w") as file:
    print(os.getpid(), other.pid, file=file)
os.rename(sys.argv[1] + ".partial", sys.argv[1])
time.sleep(60)
"""
SERVING = """
import os, sys
from lightning_tx.cli.ui import serve
sys.exit(serve([sys.executable, "-c", sys.argv[2], sys.argv[1]], os.environ))
"""


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(process_id: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("number", ui.ENDING)
def test_every_process_of_a_server_ends_on_a_signal_even_one_that_does_not_listen(tmp_path, number) -> None:
    file = tmp_path / "ids"
    process = subprocess.Popen([sys.executable, "-c", SERVING, str(file), STUBBORN])
    wait_until(file.exists)
    ids = [int(text) for text in file.read_text().split()]
    assert all(map(is_running, ids))
    process.send_signal(number)
    assert process.wait(timeout=10) == 0
    assert not any(map(is_running, ids))


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code = "import os, signal, time; os.kill(os.getppid(), signal.SIGHUP); time.sleep(0.3); raise SystemExit(4)"
        assert ui.serve([sys.executable, "-c", code], os.environ) == 4
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_exit_code_of_a_server_that_ends_by_itself_is_told(root, monkeypatch, capsys) -> None:
    assert ui.serve([sys.executable, "-c", "raise SystemExit(3)"], os.environ) == 3
    monkeypatch.setattr(ui, "serve", lambda *_: 3)
    assert main(["ui", "--root", str(root), "--port", str(free_port())]) == 1
    assert "ended by itself, with exit code 3" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_ui_answers_and_leaves_no_process_behind(root: Path, number) -> None:
    port = free_port()
    command = [sys.executable, "-m", "lightning_tx", "ui", "--root", str(root), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        assert process.poll() is None
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return urllib.request.urlopen(f"http://{ui.HOST}:{port}/", timeout=5).status == 200
        return False

    wait_until(answers, 120)
    below = psutil.Process(process.pid).children(recursive=True)
    assert below
    # A page that is open keeps its connection.
    with closing(socket.create_connection((ui.HOST, port))) as page:
        page.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        page.recv(100)
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - began < 2
    assert not any(is_running(each.pid) for each in below)
    ui.require_usable(port)
