import os
import signal
import threading

import pytest

from lightning_tx.tracking.interrupts import Interrupted, Interrupts
from lightning_tx.tracking.outcome import outcome_of


def test_handlers_are_put_back():
    before = [signal.getsignal(signum) for signum in Interrupts.SIGNALS]
    with Interrupts():
        assert [signal.getsignal(signum) for signum in Interrupts.SIGNALS] != before
    assert [signal.getsignal(signum) for signum in Interrupts.SIGNALS] == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupts.received is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_while_holding_a_signal_is_only_noted():
    with Interrupts() as interrupts:
        interrupts.hold()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.received == signal.SIGTERM


def test_off_the_main_thread_nothing_is_touched():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def exit_while_handling_ctrl_c():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise SystemExit(1)  # noqa: B904  as Lightning does it


@pytest.mark.parametrize(
    ("error", "received", "status", "signum"),
    [
        (None, None, "FINISHED", None),
        (ValueError("x"), None, "FAILED", None),
        (SystemExit(0), None, "FAILED", None),
        (KeyboardInterrupt(), None, "KILLED", signal.SIGINT),
        (Interrupted(signal.SIGTERM), signal.SIGTERM, "KILLED", signal.SIGTERM),
        (ValueError("torn down"), signal.SIGTERM, "KILLED", signal.SIGTERM),
        (SystemExit(0), signal.SIGTERM, "KILLED", signal.SIGTERM),
        (None, signal.SIGINT, "KILLED", signal.SIGINT),
    ],
)
def test_outcomes(error, received, status, signum):
    outcome = outcome_of(error, received)
    assert (outcome.status, outcome.signum) == (status, signum)
    assert bool(outcome.reason) == (status != "FINISHED")
    assert bool(outcome.traceback) == (status == "FAILED")


def test_lightnings_answer_to_ctrl_c_is_understood():
    with pytest.raises(SystemExit) as caught:
        exit_while_handling_ctrl_c()
    assert outcome_of(caught.value, None).signum == signal.SIGINT


@pytest.mark.parametrize("error", [ValueError(), ValueError("a\nb"), ValueError("x" * 9999)])
def test_the_reason_is_one_line_of_bounded_length(error):
    reason = outcome_of(error, None).reason
    assert reason.startswith("ValueError:")
    assert "\n" not in reason
    assert len(reason) <= 500
