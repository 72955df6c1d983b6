"""``ltx ui``: the MLflow UI on everything recorded."""

import argparse
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from lightning_tx.cli.stores import add_store_arguments, get_store
from lightning_tx.core.errors import ConfigError

#: Nobody else can reach this address: the UI lets whoever opens it delete runs.
HOST = "127.0.0.1"
HIGHEST_PORT = 65535
#: Signals that end the server: Ctrl-C, a polite end, and a terminal that was closed.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: How long the server may take to end before it is killed; open pages would keep it for as long as they are open.
PATIENCE_SECONDS = 1.0
#: Studies whose pages are listed, the latest ones.
MOST_STUDIES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--port", type=int, default=5000, help="port on this machine (default: 5000)")
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve the UI on the loopback address until it is interrupted; 0 then, 1 where the server ended by itself."""
    from lightning_tx.studies.page import share_all, share_study
    from lightning_tx.tracking.view import address

    require_usable(arguments.port)
    store = get_store(arguments)
    store.follow_move()  # the server goes by what is recorded
    place = f"http://{HOST}:{arguments.port}"
    print(f"All runs: {place}/{address(store, share_all(store))}")
    for study in store.studies()[:MOST_STUDIES]:
        print(f"Study {study.name}: {place}/{address(store, share_study(store, study.name, store.runs(study.name)))}")
    print("The pages open in a few seconds. Ctrl-C ends the server.", flush=True)
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--backend-store-uri", store.uri]
    command += ["--host", HOST, "--port", str(arguments.port), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level error"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
    # Its jobs score language model applications, in processes of their own.
    code = serve(command, {**os.environ, **quiet, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    if code:
        print(f"error: the MLflow server ended by itself, with exit code {code}.", file=sys.stderr)
    return 1 if code else 0


def require_usable(port: int) -> None:
    """Refuse a port that cannot be served on, which the server would tell after seconds and in many lines.

    Raises:
        ConfigError: the port is taken, or the address cannot be had.
    """
    if not 1 <= port <= HIGHEST_PORT:
        raise ConfigError(f"--port: {port} is no port; choose one from 1024 to {HIGHEST_PORT}.")
    try:
        _bind(port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"--port: {port} is taken by another program; end that one, or choose another: --port {_free_port()}"
            ) from error
        other = f"; choose another: --port {_free_port()}" if isinstance(error, PermissionError) else ""
        raise ConfigError(f"--port: {HOST}:{port} cannot be used: {error.strerror}{other}.") from error


def _bind(port: int) -> int:
    """Take a port, any for 0, and give it back; returns its number."""
    with socket.socket() as test:
        # As the server does: what was served a moment ago is free again.
        test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        test.bind((HOST, port))
        return test.getsockname()[1]


def _free_port() -> int:
    for port in range(5001, 5021):
        with suppress(OSError):
            return _bind(port)
    return _bind(0)


def serve(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a server until it ends or a signal asks for it; no process of it is left then.

    Returns:
        Its exit code, 0 after a signal.
    """
    asked: list[int] = []
    # One that is ignored, as after nohup, stays ignored.
    heard = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in heard}
    try:
        # A group of its own, so that what the server starts ends with it.
        server = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            while server.poll() is None and not asked:
                time.sleep(0.1)
            return 0 if asked else server.returncode
        finally:
            _end(server)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End every process of a server's group; one that does not listen is killed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with suppress(ProcessLookupError):  # there is none left
        os.killpg(server.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            server.poll()  # until it is asked for, a process that has ended counts as one of the group
            os.killpg(server.pid, 0)
            time.sleep(0.02)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
