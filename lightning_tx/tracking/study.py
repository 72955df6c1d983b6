"""A study: the parent run that holds together the runs of one or more sweeps, and their reports."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.tracking import tags as names
from lightning_tx.tracking.reader import searchable
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.values import MAX_KEY, MAX_TAG


class Study:
    """A named parent run in a store; made by ``Study.open`` or ``Study.get``.

    Attributes:
        store: the store it lies in.
        name: its name.
        run_id: MLflow's id of the parent run.
    """

    def __init__(self, store: Store, record: RunRecord) -> None:
        self.store = store
        self.name = record.study or record.name
        self.run_id = record.run_id

    @classmethod
    def open(cls, store: Store, name: str, *, overrides: Sequence[str] = (), note: str = "") -> "Study":
        """Create the study of this name, or take it up again and extend it.

        Args:
            store: the store.
            name: the study's name.
            overrides: the sweep's overrides; each different list is kept.
            note: what the study is about, in Markdown; replaces the earlier note unless empty.

        Raises:
            ConfigError: the name cannot be used.
        """
        _check_name(name)
        with store.lock():
            record = store.study(name)
            written = record.tags.get(names.OVERRIDES, "") if record else ""
            tags = {names.OPENED: datetime.now(UTC).isoformat(), names.OVERRIDES: _extended(written, overrides)}
            if note:
                tags[names.NOTE] = note
            if record is None:
                fixed = {names.KIND: names.STUDY_KIND, names.STUDY: name, names.SOURCE_NAME: "lightning_tx"}
                return cls(store, store.run(store.create_run(name, {**fixed, **tags})))
            store.reopen_run(record.run_id)
            store.set_tags(record.run_id, tags)
            return cls(store, record)

    @classmethod
    def get(cls, store: Store, name: str) -> "Study":
        """The study of this name as it is: what a sweep's workers, and reports, use.

        Raises:
            ConfigError: there is no such study; the message lists those there are.
        """
        record = store.study(name)
        if record is None:
            known = [study.study or "" for study in store.studies()]
            raise ConfigError(f"study: there is no study {name!r}.{nearest(name, known)} Studies: {choices(known)}.")
        return cls(store, record)

    def child(self, identity: str) -> RunRecord | None:
        """The study's run of this identity, or None."""
        return self.store.find(identity, self.name)

    def runs(self) -> list[RunRecord]:
        """The study's runs, oldest first."""
        return self.store.runs(self.name)

    def log_text(self, name: str, text: str) -> None:
        """Write a report as the artifact ``name``, and a copy under the time that no later report overwrites."""
        for each in (name, _stamped(name)):
            self.store.log_text(self.run_id, each, text)

    def log_file(self, path: Path, name: str | None = None) -> None:
        """Copy a file to the artifact ``name`` (its own name unless told), and a copy under the time."""
        name = name or path.name
        for each in (name, _stamped(name)):
            self.store.log_file(self.run_id, path, each)

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Set the study's status; a later sweep of the same name sets it to RUNNING again."""
        self.store.end_run(self.run_id, status)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_KEY or not name.isprintable() or not searchable(name):
        raise ConfigError(
            f"study: {name!r} cannot be a study's name: 1 to {MAX_KEY} printable letters, no quotation marks and no "
            "backslash."
        )


def _extended(written: str, overrides: Sequence[str]) -> str:
    """The lines of the sweeps so far and this one's, each once; the oldest go where MLflow's space ends."""
    lines = [line for line in [*written.splitlines(), " ".join(overrides)] if line]
    lines = list(dict.fromkeys(lines))
    while len(lines) > 1 and len("\n".join(lines)) > MAX_TAG:
        lines.pop(0)
    return "\n".join(lines)


def _stamped(name: str) -> str:
    path = PurePosixPath(name)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return str(path.with_name(f"{path.stem}-{stamp}{path.suffix}"))
