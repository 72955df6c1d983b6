"""SIGTERM and Ctrl-C while a run trains: leave with the exit code that the shell expects, 143 or 130."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(SystemExit):
    """The process was asked to stop. Leaves it with 128 + the signal's number: 143 for SIGTERM, 130 for Ctrl-C.

    A ``SystemExit``, so that neither Lightning, which turns a ``KeyboardInterrupt`` into exit code 1, nor Hydra, which
    goes on to a sweep's next run after an ordinary exception, stands in its way.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum

    def __str__(self) -> str:
        return signal.Signals(self.signum).name


class Interrupts:
    """While entered, SIGTERM and SIGINT raise ``Interrupted`` in the main thread; the old handlers return at exit.

    Lightning keeps a handler that it finds, and calls it: ours wins where its own would let the process end with 0.
    A signal that was ignored before (a job in the background, ``nohup``) stays ignored. Off the main thread, where
    Python allows no handlers, nothing is changed.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received: int | None = None
        self._holding = False
        self._previous: dict[int, Any] = {}

    def hold(self) -> None:
        """From now on signals are only noted in ``received``: what runs now is short and must not be cut."""
        self._holding = True

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for signum in self.SIGNALS:
                if signal.getsignal(signum) is not signal.SIG_IGN:
                    self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back from there.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.received = self.received or signum
        if not self._holding:
            raise Interrupted(signum)
