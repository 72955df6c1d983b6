"""The options by which every command finds the recorded runs."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_tx.tracking.store import Mlflow


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--root`` and ``--uri``."""
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get("LTX_ROOT", "multirun")),
        help="folder of everything that runs write (default: $LTX_ROOT, else multirun)",
    )
    parser.add_argument("--uri", help="tracking store, where it is not the database below the root")


def tracking_of(arguments: argparse.Namespace) -> "Mlflow":
    """The tracking store that the options name.

    Raises:
        ConfigError: nothing was recorded there.
    """
    from lightning_tx.core.errors import ConfigError
    from lightning_tx.tracking.store import Mlflow

    if arguments.uri is None and not (arguments.root / "mlflow.db").exists():
        raise ConfigError(
            f"--root: nothing is recorded below '{arguments.root}' (no mlflow.db). "
            "Train first, or name the folder with --root."
        )
    return Mlflow(arguments.root, uri=arguments.uri)
