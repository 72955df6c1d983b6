"""``ltx ui``: the MLflow UI on everything recorded."""

import argparse
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from lightning_tx.cli.stores import add_store_arguments, get_store
from lightning_tx.core import names

if TYPE_CHECKING:
    from lightning_tx.tracking.store import Store

#: Metrics that every page shows besides the results.
EXTRA = (names.TOTAL_PARAMETERS, names.TOKENS_PER_SECOND)
#: Studies whose pages are listed, the latest ones.
MOST_STUDIES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--port", type=int, default=5000, help="port on this machine (default: 5000)")
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve the UI on the loopback address until it is interrupted."""
    store = get_store(arguments)
    place = f"http://127.0.0.1:{arguments.port}"
    print(f"All runs: {place}/#/experiments/{store.experiment_id}/runs?workflowType=machine_learning")
    for study in store.studies()[:MOST_STUDIES]:
        print(f"Study {study.name}: {place}/{_view(store, study.name)}")
    print("The pages open in a few seconds. Ctrl-C ends the server.", flush=True)
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--backend-store-uri", store.uri]
    command += ["--host", "127.0.0.1", "--port", str(arguments.port), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level error"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
    quiet = os.environ | quiet
    try:
        return subprocess.run(command, env=quiet, check=False).returncode
    except KeyboardInterrupt:
        return 0


def _view(store: "Store", study: str) -> str:
    """The address of a study's page: what it varies, the seed, and the metrics as columns."""
    from lightning_tx.runs.volatile import VOLATILE
    from lightning_tx.studies.factors import find_factors
    from lightning_tx.tracking.view import share_view

    runs = store.runs(study)
    varied = [key for factor in find_factors(runs, ignored=VOLATILE) for key in factor.name.split(" + ")]
    primary = runs[0].tags[names.METRIC] if runs else f"{names.LAST}loss"
    ascending = not runs or runs[0].tags[names.DIRECTION] == "min"
    name = primary.partition("/")[2]
    metrics = [primary, f"{names.LAST_TEST}{name}", f"{names.BEST}{name}", *EXTRA]
    params = [*(f"{names.ABLATION}{key}" for key in varied), names.SEED]
    return share_view(store, study, params, metrics, ascending=ascending)
