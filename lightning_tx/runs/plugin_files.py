"""Components in single files: imported because somebody listed them by path, and for no other reason.

A file's components live in the module ``ltx_plugin_<file name>``, which is on no search path. What ran is known by its
digest, so that a record can say which version of the file it came from.
"""

import hashlib
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lightning_tx.core.errors import ConfigError, PluginError
from lightning_tx.groups import GROUPS

MODULE_PREFIX = "ltx_plugin_"
#: Characters of a digest that are shown and recorded, as for data.
_DIGEST_CHARACTERS = 32


@dataclass(frozen=True)
class PluginFile:
    """A file that was imported.

    Attributes:
        path: where it was, absolute.
        source: its content.
        digest: 32 hexadecimal characters over the content.
        components: what it registered, as (group, name).
    """

    path: Path
    source: str
    digest: str
    components: tuple[tuple[str, str], ...]


class _Refused(Exception):
    """Why a file cannot be used; the file itself is the subject of the sentence."""


_loaded: dict[str, PluginFile] = {}


def load_files(paths: Sequence[str | Path]) -> list[PluginFile]:
    """Import files, each once, which registers their components.

    A file that has changed since this process imported it is imported again, in place of what it was.

    Args:
        paths: relative to the working directory unless absolute.

    Raises:
        ConfigError: with the problem of every file that does not exist, does not import, registers nothing, claims a
            taken name or breaks the constructor rule; nothing of such a file stays registered.
    """
    files, problems = [], []
    for path in paths:
        try:
            files.append(_load(Path(path)))
        except _Refused as error:
            problems.append(f"plugins: '{path}' {error}")
    if problems:
        raise ConfigError(problems)
    return files


def files_of(components: Iterable[tuple[str, str]]) -> dict[str, list[PluginFile]]:
    """By group, the imported files that given components come from; groups without any are left out."""
    found: dict[str, dict[str, PluginFile]] = {}
    for group, name in components:
        for module, file in _loaded.items():
            if (group, name) in file.components:
                found.setdefault(group, {})[module] = file
    return {group: [files[module] for module in sorted(files)] for group, files in found.items()}


def digests(files: Mapping[str, Sequence[PluginFile]]) -> dict[str, str]:
    """The digests of the files of each group, as a run records them."""
    return {group: "-".join(file.digest for file in each) for group, each in files.items()}


def loaded() -> list[PluginFile]:
    """The files that are imported at this moment."""
    return list(_loaded.values())


def digest_of(source: str) -> str:
    """What tells one content of a file from another: 32 hexadecimal characters."""
    return hashlib.sha256(source.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def forget() -> None:
    """Take back whatever files registered, for example between tests."""
    for module in list(_loaded):
        _unload(module)


def _load(path: Path) -> PluginFile:
    path = path.expanduser().absolute()
    source = _read(path)
    digest = digest_of(source)
    module = MODULE_PREFIX + re.sub(r"\W", "_", path.stem)
    earlier = _loaded.get(module)
    if earlier is not None:
        if earlier.digest == digest:
            return earlier
        if earlier.path != path:
            raise _Refused(f"has the name of another plugin file, '{earlier.path}'; rename one of them.")
        _unload(module)
    _loaded[module] = PluginFile(path, source, digest, _import(module, path, source))
    return _loaded[module]


def _read(path: Path) -> str:
    if not path.exists():
        raise _Refused(f"does not exist (looked from '{Path.cwd()}').")
    if path.suffix != ".py":
        raise _Refused("is no Python file; a plugin file's name ends in .py.")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _Refused(f"cannot be read: {error}.") from error


def _import(name: str, path: Path, source: str) -> tuple[tuple[str, str], ...]:
    """Run a file as a module; returns what it registered."""
    before = _foreign()
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and pickles look a class up in its module
    try:
        try:
            # Not through importlib, which would write compiled files beside the user's and might read outdated ones.
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
        finally:
            components = tuple(sorted(key for key, cls in _foreign().items() if before.get(key) is not cls))
        for group in {group for group, _ in components}:
            GROUPS[group].names()  # imports our own components, one of which may have the name as well
    except (Exception, SystemExit) as error:
        _forget(components)
        del sys.modules[name]
        if isinstance(error, PluginError):
            raise _Refused(f"breaks a rule: {error}") from error
        raise _Refused(f"does not import: {type(error).__name__}: {error}{_line(error, path)}.") from error
    if not components:
        del sys.modules[name]
        raise _Refused("registers nothing; a component is a class under @register(GROUP, NAME).")
    return components


def _line(error: BaseException, path: Path) -> str:
    """Where in the file an error comes from."""
    if isinstance(error, SyntaxError):
        return ""  # its own text says
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""


def _unload(module: str) -> None:
    _forget(_loaded.pop(module).components)
    del sys.modules[module]


def _foreign() -> dict[tuple[str, str], type]:
    """What is registered at this moment besides our own components, by group and name."""
    return {(group, name): cls for group in GROUPS for name, cls in GROUPS[group].foreign().items()}


def _forget(components: Iterable[tuple[str, str]]) -> None:
    for group, name in components:
        GROUPS[group].forget([name])
