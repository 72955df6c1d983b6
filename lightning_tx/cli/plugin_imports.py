"""Plugin files, imported where they can do no harm first."""

import io
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

from lightning_tx.core.errors import ConfigError
from lightning_tx.groups import GROUPS
from lightning_tx.runs.plugin_files import load_files
from lightning_tx.testing.isolated import Tell, isolated
from lightning_tx.testing.process import differing, restore, settings

#: From how many seconds on an import is said to be slow.
SLOW = 2.0


def import_safely(paths: Sequence[str], seconds: float) -> tuple[list[str], list[str], list[str]]:
    """Import those plugin files that do not harm the process, and leave its settings as they are.

    Args:
        paths: the files.
        seconds: how long one may take.

    Returns:
        The files that were imported; a sentence for each that cannot be used or changes what belongs to everybody;
        and one for each thing worth knowing of the others.
    """
    problems: list[str] = []
    notes: list[str] = []
    usable: list[str] = []
    for group in GROUPS.values():
        group.names()  # so that what is measured is the file's own
    work = [partial(_try, path) for path in paths]
    for path, outcome in zip(paths, isolated(work, jobs=1, seconds=seconds), strict=True):
        told = dict(outcome.told)
        if outcome.problem:
            problems.append(f"{_name(path)} {outcome.problem} when it is imported.")
        elif "refused" in told:
            problems += told["refused"]
        else:
            usable.append(path)
        if told.get("changed"):
            problems.append(f"{_name(path)} changes {', '.join(told['changed'])} when it is imported.")
        if told.get("printed"):
            notes.append(f"{_name(path)} prints when it is imported: {told['printed'].splitlines()[0]!r}.")
        if told.get("seconds", 0.0) > SLOW:
            notes.append(f"{_name(path)} takes {told['seconds']:.1f} s to import, as every command will that uses it.")
    before = settings()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            load_files(usable)
    finally:
        restore(before)
    return usable, problems, notes


def _try(path: str, tell: Tell) -> None:
    text, before, start = io.StringIO(), settings(), time.perf_counter()
    try:
        with redirect_stdout(text), redirect_stderr(text):
            load_files([path])
    except ConfigError as error:
        tell(("refused", error.problems))
    tell(("seconds", time.perf_counter() - start))
    tell(("changed", differing(before, settings())))
    tell(("printed", text.getvalue()))


def _name(path: str) -> str:
    return f"plugins: '{Path(path)}'"
