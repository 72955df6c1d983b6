"""The plugin files of a config, what a run records of them, and their consent when it is loaded again."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.core.group import Choice
from lightning_tx.runs import plugin_files
from lightning_tx.runs.plugin_files import PluginFile
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store

_SHOWN_CHARACTERS = 8


def load(config: Mapping[str, Any]) -> None:
    """Import the plugin files that a config lists under ``plugins``.

    Raises:
        ConfigError: it is no list of paths, or with the problem of every file that cannot be used.
    """
    listed = config.get("plugins", [])
    if not isinstance(listed, list) or not all(isinstance(path, str) for path in listed):
        example = listed if isinstance(listed, str) else "FILE.py"
        raise ConfigError(f"plugins: {listed!r} should be a list of files, as in plugins=[{example}].")
    plugin_files.load_files(listed)


def files_of(chosen: Iterable[Choice[Any]]) -> dict[str, list[PluginFile]]:
    """By group, the plugin files that chosen components come from."""
    return plugin_files.files_of((choice.group.name, choice.name) for choice in chosen)


def record(run: TrackedRun, used: Mapping[str, Sequence[PluginFile]]) -> None:
    """Keep the plugin files that a run uses, by group, and their digests, with the run."""
    run.log_params({f"{group}{names.PLUGIN_DIGEST}": digest for group, digest in plugin_files.digests(used).items()})
    for file in {file.path: file for files in used.values() for file in files}.values():
        run.log_text(f"{names.PLUGINS_FOLDER}/{file.path.name}", file.source)


def admit(run: RunRecord, store: Store, listed: Sequence[str | Path]) -> None:
    """Import the plugin files that a recorded run needs, if the user has listed them; none is run unasked.

    What counts is the content, wherever a file lies: the copy that the run kept is as good as the original.

    Args:
        run: the run.
        store: where it is recorded.
        listed: what the user lists now. Files that this process has imported already need not be listed again.

    Raises:
        ConfigError: a listed file cannot be used, or a file that the run needs is not among them.
    """
    plugin_files.load_files(listed)
    known = {file.digest for file in plugin_files.loaded()}
    groups: dict[str, list[str]] = {}
    for key, value in run.params.items():
        if key.endswith(names.PLUGIN_DIGEST):
            for digest in value.split("-"):
                groups.setdefault(digest, []).append(key.removesuffix(names.PLUGIN_DIGEST))
    missing = {digest: " and ".join(sorted(each)) for digest, each in groups.items() if digest not in known}
    if missing:
        raise ConfigError(_refusal(run.run_id, missing, store, listed))


def _refusal(run_id: str, missing: Mapping[str, str], store: Store, listed: Sequence[str | Path]) -> str:
    """The error about plugin files that a run needs.

    Args:
        run_id: the run.
        missing: what comes from each file, by its digest.
        store: where the run is recorded.
        listed: the files that were listed.
    """
    kept: dict[str, str] = {}
    for name in store.artifacts(run_id, names.PLUGINS_FOLDER):
        path = store.artifact_path(run_id, name)
        near = os.path.relpath(path)
        kept[plugin_files.digest_of(path.read_text(encoding="utf-8"))] = str(path) if near.startswith("..") else near
    comes = ", ".join(f"{what} (digest {digest[:_SHOWN_CHARACTERS]})" for digest, what in missing.items())
    unlike = f"None of {choices(map(str, listed))} has that content. " if listed else ""
    lost = [what for digest, what in missing.items() if digest not in kept]
    if lost:
        advice = (
            f"The run has lost its copy for {', '.join(lost)}; list the file it was trained with: plugins=[FILE.py]"
        )
    else:
        paths = ",".join(map(str, [*listed, *(kept[digest] for digest in missing)]))
        advice = f"The run kept its code; read it, then add: plugins=[{paths}]"
    return (
        f"plugins: run {run_id} takes from plugin files, whose code runs only where they are listed: {comes}. "
        f"{unlike}{advice}"
    )
