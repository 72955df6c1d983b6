"""How a run ended: which status, why, and what leaves the process."""

import signal
import traceback
from dataclasses import dataclass

from lightning_tx.core.errors import LtxError
from lightning_tx.tracking.interrupts import Interrupted
from lightning_tx.tracking.values import cut

_REASONS = {signal.SIGTERM: "stopped by SIGTERM", signal.SIGINT: "stopped by Ctrl-C (SIGINT)"}
_REASON_LENGTH = 500


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Attributes:
        status: FINISHED, FAILED or KILLED.
        reason: why it did not finish, in one line; empty when it did.
        traceback: the whole traceback of a failure; empty otherwise.
        signum: the signal that killed it, or None.
    """

    status: str
    reason: str = ""
    traceback: str = ""
    signum: int | None = None


def outcome_of(error: BaseException | None, received: int | None) -> Outcome:
    """Judge how a run ended.

    Args:
        error: the exception that leaves the run's block, or None.
        received: the signal that came meanwhile, or None. It decides: what is raised after a signal, or not raised
            because something swallowed it, is a consequence.
    """
    signum = _signal_of(error) or received
    if signum is not None:
        return Outcome("KILLED", _REASONS[signal.Signals(signum)], signum=signum)
    if error is None:
        return Outcome("FINISHED")
    lines = [*str(error).splitlines(), ""]
    # What we raise says what happened; of others the exception's name is half of it.
    reason = cut(lines[0] if isinstance(error, LtxError) else f"{type(error).__name__}: {lines[0]}", _REASON_LENGTH)
    return Outcome("FAILED", reason, "".join(traceback.format_exception(error)))


def _signal_of(error: BaseException | None) -> int | None:
    if isinstance(error, Interrupted):
        return error.signum
    # Lightning answers Ctrl-C with sys.exit(1) while it handles the KeyboardInterrupt.
    cause = error.__context__ if isinstance(error, SystemExit) else error
    return signal.SIGINT if isinstance(cause, KeyboardInterrupt) else None
