"""Metrics on their way to the store: buffered while training goes on, sent in batches, never lost silently."""

import json
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning_tx.core.files import replaced
from lightning_tx.tracking.errors import StoreUnavailable, TrackingError, UnsentMetrics
from lightning_tx.tracking.values import METRICS_PER_CALL, Point, check_metric_name

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0
#: A call that the thread has begun may take this long even where nobody is patient.
_CALL_SECONDS = 10.0
#: One file that keeps what could not be sent, in the run's folder.
UNSENT_FILE = "unsent_metrics.jsonl"


class MetricSender:
    """Takes metrics in microseconds and sends them from a thread of its own.

    A store that does not answer never disturbs training: what is waiting is kept and sent again later. ``flush`` is
    where a lasting failure comes out.

    Args:
        send: records a list of points; raises ``TrackingError`` when it could not.
        on_nonfinite: told the first metric and step that was infinite or not a number.
        recorded: the (metric, step) pairs that the run has already; they are not sent again.
        folder: where unsent metrics are kept in the end.
        flush_seconds: what waits is sent at least this often.
        patience_seconds: how long ``flush`` waits for a store that does not answer.
    """

    def __init__(
        self,
        send: Callable[[list[Point]], None],
        *,
        on_nonfinite: Callable[[str, int], None],
        recorded: set[tuple[str, int]],
        folder: Path,
        flush_seconds: float,
        patience_seconds: float,
    ) -> None:
        self._send = send
        self._on_nonfinite = on_nonfinite
        self._recorded = recorded
        self._unsent_file = folder / UNSENT_FILE
        self._flush_seconds = flush_seconds
        self._patience_seconds = patience_seconds
        self._checked: set[str] = set()
        self._nonfinite: tuple[str, int] | None = None
        self._nonfinite_told = False
        self._queue: deque[Point] = deque()
        self._batch: list[Point] = []
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def add(self, metrics: Mapping[str, Any], step: int) -> None:
        """Take values for one step; returns at once.

        Raises:
            TrackingError: a metric's name cannot be recorded, or its value is no number.
        """
        now = int(time.time() * 1000)
        for key, raw in metrics.items():
            if key not in self._checked:
                check_metric_name(key)
                self._checked.add(key)
            if (key, step) in self._recorded:
                continue
            value = _number(key, raw)
            if self._nonfinite is None and not math.isfinite(value):
                self._nonfinite = (key, step)
            self._queue.append(Point(key, value, now, step))
        if self._thread is None:
            self._start()
        if len(self._queue) >= METRICS_PER_CALL:
            self._wake.set()

    def flush(self, patience_seconds: float | None = None) -> None:
        """Send everything that was added until now; returns when the store has it.

        Raises:
            UnsentMetrics: the store refused, or did not answer in time; a file keeps what is missing.
        """
        patience = self._patience_seconds if patience_seconds is None else patience_seconds
        deadline = time.monotonic() + patience
        while self._waiting():
            try:
                self._send_batch(max(patience, _CALL_SECONDS))
                deadline = time.monotonic() + patience  # it is failure that tries patience, not a long queue
            except StoreUnavailable as error:
                if time.monotonic() + _PAUSE_SECONDS > deadline:
                    raise self._keep(error) from error
                time.sleep(_PAUSE_SECONDS)
            except TrackingError as error:
                raise self._keep(error) from error

    def close(self, patience_seconds: float | None = None) -> None:
        """Stop the thread and flush.

        Raises:
            UnsentMetrics: as ``flush``.
        """
        self._stopping = True
        self._wake.set()
        self.flush(patience_seconds)

    def resend(self) -> None:
        """Send what an earlier process of this run had to leave in the file, and remove the file."""
        if not self._unsent_file.exists():
            return
        points = [Point(**json.loads(line)) for line in self._unsent_file.read_text(encoding="utf-8").splitlines()]
        missing = [point for point in points if (point.key, point.step) not in self._recorded]
        self._send(missing)
        self._recorded.update((point.key, point.step) for point in missing)
        self._unsent_file.unlink()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="ltx-metrics", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        complained = False
        while not self._stopping:
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            try:
                while self._waiting():
                    self._send_batch()
                complained = False
            except TrackingError as error:
                if not complained:
                    log.warning("%d metric values wait, the store will be asked again: %s", self._waiting(), error)
                complained = True

    def _send_batch(self, wait_seconds: float = -1) -> None:
        if not self._sending.acquire(timeout=wait_seconds):
            raise StoreUnavailable("The tracking store has not answered a call that is still under way.")
        try:
            # Copied before it is removed: an interrupt in between doubles a point, which MLflow drops.
            while self._queue and len(self._batch) < METRICS_PER_CALL:
                self._batch.append(self._queue[0])
                self._queue.popleft()
            if self._nonfinite is not None and not self._nonfinite_told:
                self._on_nonfinite(*self._nonfinite)
                self._nonfinite_told = True
            self._send(self._batch)
            self._batch = []
        finally:
            self._sending.release()

    def _waiting(self) -> int:
        return len(self._queue) + len(self._batch)

    def _keep(self, error: TrackingError) -> UnsentMetrics:
        points = [*self._batch, *self._queue]
        lines = [json.dumps(point._asdict()) for point in points]
        try:
            with replaced(self._unsent_file) as partial:
                partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        except OSError as failure:
            return UnsentMetrics(
                f"{len(points)} metric values could not be sent, nor kept in {self._unsent_file} "
                f"({failure.strerror}); the same run, started again, computes them anew. {error}"
            )
        return UnsentMetrics(
            f"{len(points)} metric values could not be sent; they lie in {self._unsent_file} and are sent when the "
            f"same run is started again. {error}"
        )


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TrackingError(f"metric {key!r}: {value!r} is not a number.") from None
