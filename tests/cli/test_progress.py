"""What is seen of a run while it trains."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lightning_tx.cli import progress
from lightning_tx.cli.pace import Pace, duration
from lightning_tx.cli.progress import Bar, Lines, progress_on
from lightning_tx.cli.request import Request
from lightning_tx.cli.worker import Worker
from tests.tiny import tiny_overrides

LOSSES = ["val/loss 3.401", "train/loss 3.512"]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def drawn(width: int, title: str, step: int = 120) -> str:
    """What a terminal of a width shows last."""
    file = io.StringIO()
    bar = Bar(Console(file=file, force_terminal=True, width=width, color_system="standard"), title)
    bar.begin(0, 1000)
    bar.show(step, 1000, LOSSES, "12 min left")
    shown = ESCAPES.sub("", file.getvalue()).replace("\r", "\n").split("\n")
    bar.end()
    return [line for line in shown if line.strip()][-1]


@pytest.mark.parametrize("title", ["", "[3/30] positions=rope attention=gqa norm=layernorm block=post_norm seed=2"])
def test_a_terminal_of_80_columns_shows_what_matters(title) -> None:
    line = drawn(80, title)
    assert len(line) <= 80
    assert "120/1000" in line and "12 min left" in line and "val/loss 3.401" in line and "train" not in line
    assert line.count("━") + line.count("╸") >= 10
    assert not title or line.startswith("[3/30] pos")


def test_a_wide_terminal_shows_both_losses_and_the_title() -> None:
    line = drawn(140, "[3/30] positions=[local] seed=2")
    assert "val/loss 3.401  train/loss 3.512" in line and "positions=[local] seed=2" in line


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until its ``now`` is moved."""
    hands = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: hands.now)
    return hands


class Module:
    """A training module as far as it is looked at."""

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}


def test_a_file_gets_a_line_every_ten_seconds(clock, monkeypatch) -> None:
    monkeypatch.setattr(progress, "TrainingModule", Module)
    file = io.StringIO()
    lines = progress_on(Console(file=file, width=40), "[3/30] positions=[local] seed=2")
    assert isinstance(lines, Lines)
    trainer: Any = SimpleNamespace(global_step=0, max_steps=1000)
    module: Any = Module()
    lines.on_train_start(trainer, module)
    for step in range(1, 501):
        clock.now += 0.1  # ten steps a second
        trainer.global_step = step
        module.latest = {"train/loss": 4.0} if step < 150 else {"train/loss": 3.0, "val/loss": 3.5}
        lines.on_train_batch_end(trainer, module)
    lines.on_train_end(trainer, module)
    out = file.getvalue()
    assert "\r" not in out and out.count("\n") in (4, 5)
    first, second, *_ = out.splitlines()
    assert re.fullmatch(r"\[3/30\] positions=\[local\] seed=2  step 10\d/1000  train/loss 4.000  90 s left", first), (
        first
    )
    assert "val/loss 3.500  train/loss 3.000" in second


def test_a_run_that_is_taken_up_again_is_judged_by_what_it_does_now(clock, monkeypatch) -> None:
    monkeypatch.setattr(progress, "TrainingModule", Module)
    file = io.StringIO()
    lines = Lines(Console(file=file, width=100), "")
    trainer: Any = SimpleNamespace(global_step=900, max_steps=1000)
    lines.on_train_start(trainer, Module())  # type: ignore
    clock.now, trainer.global_step = 120.0, 910
    lines.on_train_batch_end(trainer, Module())  # type: ignore
    assert file.getvalue() == "  step 910/1000  3 min left\n"


def test_what_was_done_lately_weighs_most() -> None:
    pace = Pace(half_life=2)
    assert pace.seconds_for(3) is None
    for _ in range(10):
        pace.add(1, 4.0)
    assert pace.seconds_for(3) == pytest.approx(12)
    for _ in range(4):
        pace.add(1, 60.0)
    # By hand: of ten cheap jobs each counts 2^(-k/2) for the k that follow it.
    weights = [0.5 ** (age / 2) for age in range(14)]
    mean = sum(w * (60 if age < 4 else 4) for age, w in enumerate(weights)) / sum(weights)
    assert pace.seconds_for(1) == pytest.approx(mean) and mean > 45  # the plain mean is 20
    quick = Pace(half_life=2)
    quick.add(8, 8.0)
    quick.add(0, 2.0)  # a pause belongs to what was done
    assert quick.seconds_for(1) == pytest.approx(10 / 8)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (1140, "19 min"),
        (5399, "1 h 30 min"),
        (7200, "2 h"),
        (90_000, "25 h"),
    ],
)
def test_a_span_of_time_is_told_as_exactly_as_it_is_known(seconds, text) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ([], ""),
        ([4.0], ", roughly 80 s left"),
        ([60.0, 62.0, 61.0], ", about 20 min left"),
        ([4.0] * 10 + [60.0] * 6, ", roughly 18 min left"),
    ],
)
def test_the_time_left_of_a_sweep_weighs_recent_jobs_and_says_where_it_is_rough(seconds, words) -> None:
    worker = Worker(Request((), True, ()), seconds=seconds)
    assert worker.time_left(20) == words
    assert worker.time_left(0) == ""


@pytest.mark.slow
def test_a_real_terminal_of_80_columns(root, text) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    line = tiny_overrides(root, text, "positions=rope", "trainer.max_steps=1500", "trainer.val_every=20")
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_tx", "train", *line],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm"},
    )
    os.close(theirs)
    out = b""
    while True:
        try:
            out += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait() == 0
    shown = ESCAPES.sub("", out.decode()).replace("\r", "\n").split("\n")
    bars = [each for each in shown if "━" in each and "val/loss" in each]
    assert bars, shown
    assert all(len(each) <= 80 and "/1500" in each for each in bars) and any(" left" in each for each in bars)
