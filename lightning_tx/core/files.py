"""Files and folders that are there whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write a file or a folder, which takes its place ``path`` in one step at the end of the block.

    Whatever happens meanwhile, ``path`` is as it was before or as it is to be. After an error nothing is left beside
    it; what a killed process left there (``.partial``) the next one removes. Folders above are created. One process
    at a time may write a path: where several want to, the caller holds a lock.

    Args:
        path: the file or folder.

    Raises:
        OSError: it cannot be written; the error names ``path``.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    except OSError as error:
        _remove(partial)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    except BaseException:
        _remove(partial)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
