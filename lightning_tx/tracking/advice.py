"""Commands of MLflow's own that are offered to the user, as they can be typed here."""

import shlex
import shutil
import sys


def mlflow_command(*words: str, uri: str | None = None) -> str:
    """A command line of MLflow.

    Args:
        words: what follows ``mlflow``.
        uri: the store that it is about, without a password; None where the words name it.
    """
    program = ["mlflow"] if shutil.which("mlflow") else [sys.executable, "-m", "mlflow"]
    line = shlex.join([*program, *words])
    return line if uri is None else f"MLFLOW_TRACKING_URI={shlex.quote(uri)} {line}"
