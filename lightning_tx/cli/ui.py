"""``ltx ui``: the MLflow UI on everything recorded."""

import argparse
import os
import subprocess
import sys

from lightning_tx.cli.stores import add_store_arguments, tracking_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--port", type=int, default=5000, help="port on this machine (default: 5000)")
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve the UI on the loopback address until it is interrupted."""
    tracking = tracking_of(arguments)
    store = tracking.open()
    place = f"http://127.0.0.1:{arguments.port}"
    print(f"MLflow UI: {place}/#/experiments/{store.experiment_id}  (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri]
    command += ["--host", "127.0.0.1", "--port", str(arguments.port), "--workers", "1"]
    quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
    try:
        return subprocess.run(command, env=quiet, check=False).returncode
    except KeyboardInterrupt:
        return 0
