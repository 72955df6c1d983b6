"""Files that are made once and shared: by processes that want them at the same time, and by later runs."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from lightning_tx.core.files import replaced

#: Hexadecimal characters of every digest: what MLflow's 36-character field for a data set's digest can hold.
DIGEST_LENGTH = 32


def has_content(path: Path) -> bool:
    """Whether ``path`` is there and, if it is a file, is not empty."""
    return path.is_dir() or (path.is_file() and path.stat().st_size > 0)


def build_once(target: Path, build: Callable[[Path], None], is_complete: Callable[[Path], bool] = has_content) -> None:
    """Make the file or folder ``target`` unless it is there already.

    Processes that want the same target wait for the first of them, and then find it made. The target is built under
    another name and takes its own only when whole, so that a process killed half-way leaves nothing that looks
    finished; the next one removes what it left. The operating system frees the lock of a dead process.

    Args:
        target: the file or folder to make; its parent folders are created.
        build: writes the file or creates the folder at the path it is given.
        is_complete: tells a finished target from one that has to be made again.
    """
    if is_complete(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock")):
        if is_complete(target):
            return
        with replaced(target) as partial:
            build(partial)


def digest_of(value: Any) -> str:
    """The digest of a plain value (dicts, lists, strings, numbers), whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]


def digest_of_texts(texts: Iterable[str]) -> str:
    """The digest of texts in their order; where one text ends and the next begins counts too."""
    sha = hashlib.sha256()
    for text in texts:
        content = text.encode()
        sha.update(len(content).to_bytes(8, "little"))
        sha.update(content)
    return sha.hexdigest()[:DIGEST_LENGTH]
