"""Where an error comes from: the line of the component in question, not the library's that raised it."""

import linecache
import re
import traceback
from collections.abc import Collection
from pathlib import Path

import lightning_tx

_PACKAGE = str(Path(lightning_tx.__file__).parent)
#: A compiler keeps what it was reading in its message alone.
_READ = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')


def origin(error: BaseException | None, files: Collection[str], *, strict: bool = True) -> str | None:
    """``file:line, in function: source`` of the last line of a component's own file that an error came through.

    Args:
        error: what was raised; None gives None.
        files: the source files of the components in question.
        strict: whether errors that came through none of the files have no origin; else it is the last line that is
            nobody's library, be it this package's.
    """
    if error is None:
        return None
    frames = [(frame.filename, frame.lineno or 0, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    frames += [(file, int(line), name) for file, line, name in _READ.findall(str(error))]
    own = [frame for frame in frames if frame[0] in files]
    if not own and not strict:
        own = [frame for frame in frames if frame[0].startswith(_PACKAGE)] or frames
    if not own:
        return None
    file, line, name = own[-1]
    return f"{file}:{line}, in {name}: {linecache.getline(file, line).strip()}"
