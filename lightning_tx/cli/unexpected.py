"""Errors that nobody raised on purpose, in a line; with ``LTX_DEBUG=1`` in the environment, with all their frames."""

import errno
import os
import site
import sysconfig
import traceback
from pathlib import Path

from lightning_tx.core.package import PACKAGE

#: The variable that asks for frames.
VARIABLE = "LTX_DEBUG"
#: A disk, or what one user may take of it, is full.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def wants_frames() -> bool:
    """Whether the environment asks for the frames of unexpected errors."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


def told(error: BaseException) -> str:
    """The exception's name, the first line of what it says, and where it was, in a line.

    Of a disk that takes no more, and of a folder that may not be written, it says instead what to do.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f" for '{error.filename}'" if error.filename else ""
        return f"No space is left on the disk{where}. Free some; the same command goes on where it stopped."
    if isinstance(error, OSError) and error.errno in _FORBIDDEN and error.filename:
        return f"'{error.filename}' cannot be written: {error.strerror}. Make it writable, or name another root."
    return f"{summary(error)} (at {place(error)}; {VARIABLE}=1 shows all frames)"


def summary(error: BaseException) -> str:
    """The exception's name and the first line of what it says."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def place(error: BaseException) -> str:
    """File and line where it left our code, or a plugin's, for that of a library."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_library(Path(frame.filename))] or frames
    return f"{own[-1].filename}:{own[-1].lineno}" if own else "an unknown place"


def _is_library(file: Path) -> bool:
    folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), *site.getsitepackages()]
    is_code = file.exists()  # what a library generates has no file
    return not file.is_relative_to(PACKAGE) and (not is_code or any(map(file.is_relative_to, folders)))
