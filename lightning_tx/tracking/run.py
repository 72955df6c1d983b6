"""One training run and its record, from the first tag to the final status."""

import json
import logging
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from lightning_tx.core import names
from lightning_tx.tracking.code import code_state
from lightning_tx.tracking.environment import environment
from lightning_tx.tracking.errors import RunBusy, RunFinished, TrackingError, UnsentMetrics
from lightning_tx.tracking.interrupts import Interrupted, Interrupts
from lightning_tx.tracking.locks import RunLock
from lightning_tx.tracking.outcome import Outcome, outcome_of
from lightning_tx.tracking.owners import take
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.sender import MetricSender
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from lightning_tx.tracking.values import flatten, text

log = logging.getLogger(__name__)

#: Who asks a run to stop, or has waited already, does not want to wait a minute for a store that is gone.
_SHORT_PATIENCE = 5.0


class TrackedRun:
    """The one owner of a run's status. Used as a context manager:

        with TrackedRun(store, name=..., identity=..., config=..., choices=..., seed=1, study=study) as run:
            ...train, checkpoints below run.folder, metrics through MetricLogger(run)...

    Entering creates the run, or takes up the unfinished run of the same identity in the same study: same id, same
    folder, status RUNNING again, and metrics that it has already are not recorded twice. Leaving sets FINISHED; FAILED
    with the traceback after an exception; KILLED after SIGTERM or Ctrl-C, and then the process is left with exit code
    143 or 130 (``Interrupted``). A process that dies without a word (SIGKILL) leaves the status RUNNING but frees the
    lock, so that the next one resumes.

    Args:
        store: where it is recorded.
        name: the name shown in the UI.
        identity: the hash of what is trained.
        config: the full resolved config, plain values; recorded as parameters and as the artifact ``config.json``.
        choices: group -> label, recorded as ``ablation.<group>`` parameters and tags.
        seed: recorded as ``ablation.seed``.
        study: the study it belongs to, or None.
        tags: further tags.

    Attributes:
        run_id: MLflow's id; set once entered.
        folder: the run's own folder, for checkpoints; exists once entered.
        resumed: whether an unfinished run was taken up.
    """

    def __init__(
        self,
        store: Store,
        *,
        name: str,
        identity: str,
        config: Mapping[str, Any],
        choices: Mapping[str, str],
        seed: int | None = None,
        study: Study | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.store = store
        self.name = name
        self.identity = identity
        self.config = dict(config)
        self.study = study
        self.run_id = ""
        self.folder = Path()
        self.resumed = False
        self._tags = dict(tags or {})
        self._ablation = {f"{names.ABLATION}{group}": label for group, label in choices.items()}
        if seed is not None:
            self._ablation[names.SEED] = str(seed)
        self._interrupts = Interrupts()
        self._lock: RunLock | None = None
        self._sender: MetricSender | None = None

    def __enter__(self) -> "TrackedRun":
        """Open the run.

        Raises:
            RunBusy: another process trains it.
            RunFinished: it has finished already.
            StoreUnavailable: the store does not answer.
        """
        self._interrupts.__enter__()
        self.store.keep_secret(self.config)
        try:
            earlier = self._open()
            self._record(earlier)
        except BaseException as error:
            self._close(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(error)

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Record metric values; takes microseconds, they are sent later. See ``MetricSender.add``."""
        self._open_sender().add(metrics, step)

    def flush(self) -> None:
        """Send all metrics and wait until they are recorded. To be called before a checkpoint is written, so that
        whoever resumes from it finds every value from before it.

        Raises:
            UnsentMetrics: the store could not take them; a file in ``folder`` keeps them.
        """
        self._open_sender().flush()

    def log_params(self, values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """Record what is known once the run is built, such as counts of the data; nested keys are dotted.

        A parameter never changes: of a run that was resumed, the first value stays, and a difference is reported.

        Returns:
            key -> (recorded value, refused value) for those that differ.
        """
        differing = self.store.log_params(self.run_id, flatten(values))
        for key, (recorded, refused) in differing.items():
            log.warning("%s was %r when the run began and is %r now; the first is kept.", key, recorded, refused)
        return differing

    def log_facts(self, facts: Mapping[str, Any]) -> None:
        """Record what the run is made of besides its config, as parameters ``facts.<name>``.

        Of a run that was resumed the first values stay; a tag says which facts are others now.
        """
        differing = self.log_params({f"{names.FACTS}{name}": text(value) for name, value in facts.items()})
        if differing:
            changed = json.loads(self.store.run(self.run_id).tags.get(names.FACTS_CHANGED, "{}"))
            changed |= {key.removeprefix(names.FACTS): list(values) for key, values in differing.items()}
            self.set_tags({names.FACTS_CHANGED: json.dumps(changed)})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self.store.set_tags(self.run_id, tags)

    def log_text(self, name: str, text: str) -> None:
        """Write an artifact."""
        self.store.log_text(self.run_id, name, text)

    def log_content(self, name: str, content: str | bytes) -> None:
        """Write an artifact of text, or of bytes as they are."""
        self.store.log_content(self.run_id, name, content)

    def log_file(self, path: Path, name: str | None = None) -> None:
        """Copy a file to the artifact ``name``, its own name unless told."""
        self.store.log_file(self.run_id, path, name or path.name)

    def _open_sender(self) -> MetricSender:
        if self._sender is None:
            raise TrackingError(f"Run {self.name!r} is not open: metrics are recorded inside its 'with' block.")
        return self._sender

    def _open(self) -> RunRecord | None:
        # Under the store's lock, for two processes may start the same run at once.
        with self.store.lock():
            earlier = self.store.find(self.identity, self.study.name if self.study else None)
            if earlier is not None and earlier.finished:
                raise RunFinished(earlier)
            run_id = earlier.run_id if earlier else self.store.create_run(self.name, self._first_tags())
            lock = take(self.store, earlier, run_id)
            if isinstance(lock, str):
                raise RunBusy(self.name, run_id, owner=lock)
            self._lock, self.run_id, self.resumed = lock, run_id, earlier is not None
            self.folder = self.store.folder(run_id)
        return earlier

    def _first_tags(self) -> dict[str, str]:
        tags = {
            names.KIND: names.RUN,
            names.IDENTITY: self.identity,
            names.SOURCE_NAME: "lightning_tx",
            names.SOURCE_TYPE: "LOCAL",
            names.HOST: socket.gethostname(),
        }
        if self.study is not None:
            tags |= {names.STUDY: self.study.name, names.PARENT: self.study.run_id}
        return {**tags, **_git_tags(), **self._ablation, **self._tags}

    def _record(self, earlier: RunRecord | None) -> None:
        recorded = self.store.recorded_steps(self.run_id) if earlier else set()
        self._sender = MetricSender(
            partial(self.store.log_points, self.run_id),
            on_nonfinite=self._note_nonfinite,
            recorded=recorded,
            folder=self.folder,
            flush_seconds=self.store.options.flush_seconds,
            patience_seconds=self.store.options.patience_seconds,
        )
        if earlier is not None:
            self._take_up(earlier)
            self._sender.resend()
        # The same identity may come with other paths or devices: what the run began with stays.
        self.store.log_params(self.run_id, {**flatten(self.config), **self._ablation})
        suffix = datetime.now(UTC).strftime("-%Y%m%d-%H%M%S") if self.resumed else ""
        files: dict[str, Any] = {names.CONFIG_FILE: self.config, names.ENVIRONMENT_FILE: environment()}
        state = code_state()
        if state is not None and state.dirty:
            files[names.PATCH_FILE] = state.patch
        recorded = self.store.artifacts(self.run_id) if self.resumed else []
        for file, content in files.items():
            stem, dot, extension = file.partition(".")
            # A patch of the code that goes on says nothing about the commit that the run began with.
            beside = file in recorded or (self.resumed and file == names.PATCH_FILE)
            write = self.store.log_text if isinstance(content, str) else self.store.log_json
            write(self.run_id, f"{stem}{suffix}{dot}{extension}" if beside else file, content)

    def _take_up(self, earlier: RunRecord) -> None:
        tags = {names.HOST: socket.gethostname(), names.RESUMED: str(int(earlier.tags.get(names.RESUMED, "0")) + 1)}
        self.store.reopen_run(self.run_id)
        self.store.set_tags(self.run_id, {**tags, **self._tags})
        if names.REASON in earlier.tags:
            self.store.delete_tag(self.run_id, names.REASON)

    def _note_nonfinite(self, key: str, step: int) -> None:
        if names.NONFINITE not in self.store.run(self.run_id).tags:  # the first one of a resumed run stays
            self.store.set_tags(self.run_id, {names.NONFINITE: f"{key}@{step}"})

    def _close(self, error: BaseException | None) -> None:
        """Record the end; raises only what has to leave the run's block in place of ``error``."""
        self._interrupts.hold()
        outcome = outcome_of(error, self._interrupts.received)
        try:
            if self._lock is not None:
                self._write_end(outcome, error)
        except TrackingError as failure:
            if error is None and outcome.signum is None:
                raise
            log.error("The end of run %s could not be recorded. %s", self.name, failure)
        finally:
            if self._lock is not None:
                self._lock.release()
            self._interrupts.__exit__(None, None, None)
        signum = outcome.signum or self._interrupts.received
        if signum is not None and not isinstance(error, Interrupted):
            raise Interrupted(signum) from error

    def _write_end(self, outcome: Outcome, error: BaseException | None) -> None:
        failure: TrackingError | None = None
        in_haste = outcome.status == "KILLED" or isinstance(error, UnsentMetrics)
        if self._sender is not None:
            try:
                self._sender.close(_SHORT_PATIENCE if in_haste else None)
            except TrackingError as unsent:
                failure = unsent
                if outcome.status == "FINISHED":
                    outcome = outcome_of(unsent, None)
        if outcome.reason:
            self.store.set_tags(self.run_id, {names.REASON: outcome.reason})
        if outcome.traceback:
            self.store.log_message(self.run_id, names.TRACEBACK_FILE, outcome.traceback)
            if error is not None:
                error.add_note(f"The whole traceback is the run's {names.TRACEBACK_FILE}.")
        self.store.end_run(self.run_id, outcome.status)
        if failure is not None:
            raise failure


def _git_tags() -> dict[str, str]:
    state = code_state()
    return {} if state is None else {names.GIT_COMMIT: state.commit, names.GIT_DIRTY: str(state.dirty).lower()}
