"""What the tests run in other processes; a started process finds these functions by importing this module."""

import os
import time
from pathlib import Path


def build_slowly(target: Path, journal: Path) -> None:
    """Build a file in half a second, and write down that this process did."""
    from lightning_tx.data.storage import build_once

    def build(path: Path) -> None:
        with journal.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        time.sleep(0.5)
        path.write_text("built")

    build_once(target, build)


def build_folder_halfway(target: Path, journal: Path) -> None:
    """Start to build a folder, and never end."""
    from lightning_tx.data.storage import build_once

    def build(path: Path) -> None:
        path.mkdir()
        (path / "first").write_text("written")
        journal.write_text("half-way")
        time.sleep(600)

    build_once(target, build)
