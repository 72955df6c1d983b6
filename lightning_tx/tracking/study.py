"""A study: the parent run that holds together the runs of one or more sweeps, their plan, and their reports."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.core.margin import Margin
from lightning_tx.tracking.advice import mlflow_command
from lightning_tx.tracking.client import public
from lightning_tx.tracking.owners import owner_of
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.search import searchable
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.values import MAX_KEY, MAX_TAG


@dataclass(frozen=True)
class Row:
    """One run as a sweep asked for it.

    Attributes:
        identity: the hash of what it trains.
        name: what tells it from the others, as ``positions=rope seed=2``.
        seed: the seed.
        choices: what was chosen, by group or key.
    """

    identity: str
    name: str
    seed: int
    choices: dict[str, str]


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
    def open(
        cls, store: Store, name: str, *, overrides: Sequence[str] = (), note: str = "", margin: object = None
    ) -> "Study":
        """Create the study of this name, or take it up again and extend it.

        Where its parent run was deleted in the UI and runs of it were not, the parent is restored with all that it
        kept; runs whose parent is gone for good are put below this one.

        Args:
            store: the store.
            name: the study's name.
            overrides: the sweep's overrides; each different list is kept.
            note: what the study is about, in Markdown; replaces the earlier note unless empty.
            margin: the difference that matters, see :meth:`state_margin`; None for none.

        Raises:
            ConfigError: the name cannot be used, or the margin cannot be stated; then nothing was written.
        """
        _check_name(name)
        with store.lock():
            record = store.study(name)
            if record is None and (record := store.deleted_study(name)) is not None:
                store.restore_run(record.run_id)
            written = record.tags.get(names.OVERRIDES, "") if record else ""
            tags = {names.OPENED: datetime.now(UTC).isoformat(), names.OVERRIDES: _extended(written, overrides)}
            if note:
                tags[names.NOTE] = note
            if margin is not None:
                tags |= _margin_tag(store, name, record.tags if record else {}, margin)
            if record is None:
                fixed = {names.KIND: names.STUDY_KIND, names.STUDY: name, names.SOURCE_NAME: "lightning_tx"}
                record = store.run(store.create_run(name, {**fixed, **tags}))
            else:
                store.reopen_run(record.run_id)
                store.set_tags(record.run_id, tags)
            for run in store.runs(name):
                if run.tags.get(names.PARENT) != record.run_id:
                    store.set_tags(run.run_id, {names.PARENT: record.run_id})
            return cls(store, record)

    @classmethod
    def get(cls, store: Store, name: str) -> "Study":
        """The study of this name as it is: what a sweep's workers, and reports, use.

        Raises:
            ConfigError: there is no such study, or it was deleted; the message lists those there are.
        """
        record = store.study(name)
        if record is None and (deleted := store.deleted_study(name)) is not None:
            restore = mlflow_command("runs", "restore", "--run-id", deleted.run_id, uri=public(store.uri))
            raise ConfigError(
                f"study: {name!r} was deleted in MLflow, but {len(store.runs(name))} of its runs were not. The same "
                f"ltx train command restores it, and so does: {restore}"
            )
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

    @property
    def margin(self) -> Margin | None:
        """The difference that matters, as it was stated; None where none was."""
        text = self._tags().get(names.MARGIN)
        return None if text is None else Margin.parse(text)

    def state_margin(self, margin: object) -> None:
        """State the difference that matters, as ``0.01`` or ``1%``; once, and before a run has finished.

        Raises:
            ConfigError: it is no margin, another one was stated, or results are known already.
        """
        with self.store.lock():
            self.store.set_tags(self.run_id, _margin_tag(self.store, self.name, self._tags(), margin))

    def keep_precision(self, precision: str) -> str:
        """Keep what ``auto`` stands for in all of the study's runs, unless it is kept already; returns what is kept."""
        with self.store.lock():
            kept = self._tags().get(names.PRECISION)
            if kept is None:
                self.store.set_tags(self.run_id, {names.PRECISION: precision})
        return kept or precision

    def ask(self, rows: Sequence[Row]) -> None:
        """Add what a sweep asks for to the study's plan: each identity once, in the order in which they were asked."""
        with self.store.lock():
            asked = {row.identity: row for row in self.rows()}
            number = len(asked)
            for row in rows:
                asked.setdefault(row.identity, row)
            if len(asked) > number:
                self.store.log_json(self.run_id, names.ROWS_FILE, [asdict(row) for row in asked.values()])

    def rows(self) -> list[Row]:
        """Everything that was asked for, in order; empty for a study without a plan."""
        if names.ROWS_FILE not in self.store.artifacts(self.run_id):
            return []
        path = self.store.artifact_path(self.run_id, names.ROWS_FILE)
        return [Row(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]

    @property
    def looks(self) -> list[tuple[int, str]]:
        """How many seeds each report has seen that saw new ones, and when (ISO 8601), oldest first."""
        return [(number, when) for number, when in json.loads(self._tags().get(names.LOOKS, "[]"))]

    def add_look(self, num_seeds: int) -> None:
        """Note that results of so many seeds were looked at; nothing where the last look saw as many."""
        with self.store.lock():
            looks = self.looks
            if not looks or num_seeds > looks[-1][0]:
                looks.append((num_seeds, datetime.now(UTC).isoformat(timespec="seconds")))
                self.store.set_tags(self.run_id, {names.LOOKS: json.dumps(looks)})

    def log_text(self, name: str, text: str) -> None:
        """Write a report as the artifact ``name``, and a copy under the time that no later report overwrites."""
        for each in (name, _stamped(name)):
            self.store.log_text(self.run_id, each, text)

    def log_file(self, path: Path, name: str | None = None) -> None:
        """Copy a file to the artifact ``name`` (its own name unless told), and a copy under the time."""
        name = name or path.name
        for each in (name, _stamped(name)):
            self.store.log_file(self.run_id, path, each)

    def disk_use(self) -> int:
        """Bytes that the study and its runs take on this machine: checkpoints, weights and other artifacts."""
        runs = [*self.runs(), self.store.run(self.run_id)]
        folders = [place for run in runs for place in (self.store.folder(run.run_id), run.artifact_folder) if place]
        return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Set the study's status, unless other processes still train runs of it: whoever ends last sets it.

        A later sweep of the same name sets it to RUNNING again.
        """
        with self.store.lock():
            if not any(owner_of(self.store, run) for run in self.runs() if run.status == "RUNNING"):
                self.store.end_run(self.run_id, status)

    def _tags(self) -> dict[str, str]:
        # Read anew each time: other processes write them too.
        return self.store.run(self.run_id).tags


def _margin_tag(store: Store, name: str, tags: Mapping[str, str], margin: object) -> dict[str, str]:
    """The tag that states a study's margin, given the tags that it has.

    Raises:
        ConfigError: as ``Study.state_margin``.
    """
    stated, why = Margin.parse(margin), "a margin is stated before results are known"
    if names.MARGIN in tags:
        earlier = Margin.parse(tags[names.MARGIN])
        if (earlier.value, earlier.relative) != (stated.value, stated.relative):
            raise ConfigError(
                f"margin: {stated.text} is not the {earlier.text} that study {name!r} has stated, and {why}; "
                "leave it out, or name another study."
            )
        return {}
    finished = sum(run.finished for run in store.runs(name))
    if finished:
        raise ConfigError(
            f"margin: {stated.text} comes too late for study {name!r}, {finished} of whose runs have finished: {why}; "
            "leave it out, or name another study."
        )
    return {names.MARGIN: stated.text}


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
