"""Floor 4: the plugin files of a config, what a run records of them, and their consent when it is loaded again."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_tx.ablation.factors import PLUGIN_DIGEST
from lightning_tx.core import plugin_files, registry
from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.core.plugin_files import PluginFile
from lightning_tx.model.parts import GROUPS as PARTS
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store

#: The artifacts that keep the files.
FOLDER = "plugins"
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


def files_of(config: Mapping[str, Any]) -> dict[str, list[PluginFile]]:
    """By group, the plugin files that components of a checked config come from."""
    named = [(group, config[group]["name"]) for group in registry.GROUPS if group in config]
    for override in config["model"].get("overrides", []):
        named += [(group, override[group]["name"]) for group in PARTS if group in override]
    return plugin_files.files_of(named)


def record(run: TrackedRun, config: Mapping[str, Any]) -> None:
    """Keep the plugin files that a run uses, and their digests, with the run."""
    used = files_of(config)
    run.log_params({f"{group}{PLUGIN_DIGEST}": digest for group, digest in plugin_files.digests(used).items()})
    for file in {file.path: file for files in used.values() for file in files}.values():
        run.log_text(f"{FOLDER}/{file.path.name}", file.source)


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
        if key.endswith(PLUGIN_DIGEST):
            for digest in value.split("-"):
                groups.setdefault(digest, []).append(key.removesuffix(PLUGIN_DIGEST))
    problems = []
    for digest in [digest for digest in groups if digest not in known]:
        others = f" What is listed ({choices(map(str, listed))}) has another content." if listed else ""
        problems.append(
            f"plugins: the {' and '.join(sorted(groups[digest]))} of run {run.run_id} comes from a plugin file of "
            f"digest {digest[:_SHOWN_CHARACTERS]}, whose code runs only where it is listed.{others} "
            f"{_advice(run.run_id, store, digest)}"
        )
    if problems:
        raise ConfigError(problems)


def _advice(run_id: str, store: Store, digest: str) -> str:
    for name in store.artifacts(run_id, FOLDER):
        path = store.artifact_path(run_id, name)
        if plugin_files.digest_of(path.read_text(encoding="utf-8")) == digest:
            near = os.path.relpath(path)
            return f"The run kept it; read it, then add: plugins=[{path if near.startswith('..') else near}]"
    return "The run has lost its copy; list the file it was trained with: plugins=[FILE.py]"
