"""How far a run is: a bar on a terminal, a line every few seconds elsewhere. It costs a step nothing."""

import time
from abc import abstractmethod
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from lightning_tx.cli.pace import Pace, duration
from lightning_tx.core import names
from lightning_tx.training.module import TrainingModule

#: Losses, the one that matters most first.
LOSSES = (f"{names.VALIDATION}loss", f"{names.TRAIN}loss")
#: So many characters hold both losses beside a bar.
ROOM_FOR_ALL = 100
#: A step counts half as much in an estimate after this share of the run.
HALF_LIFE = 0.1


class RunProgress(pl.Callback):
    """Tells steps done, the newest losses and the time left, at most once in ``every`` seconds."""

    every: float

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin; a resumed run begins where it stopped."""
        self._pace = Pace(max(1.0, HALF_LIFE * trainer.max_steps))
        self._told = time.monotonic()
        self._step = trainer.global_step
        self.begin(trainer.global_step, trainer.max_steps)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Tell, if the last time is long enough ago."""
        now = time.monotonic()
        if now - self._told < self.every:
            return
        self._pace.add(trainer.global_step - self._step, now - self._told)
        self._told, self._step = now, trainer.global_step
        assert isinstance(pl_module, TrainingModule)
        losses = [f"{name} {pl_module.latest[name]:.3f}" for name in LOSSES if name in pl_module.latest]
        seconds = self._pace.seconds_for(trainer.max_steps - self._step)
        self.show(self._step, trainer.max_steps, losses, "" if seconds is None else f"{duration(seconds)} left")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End."""
        self.end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """End."""
        self.end()

    def begin(self, step: int, steps: int) -> None:
        """What is done when training begins."""

    @abstractmethod
    def show(self, step: int, steps: int, losses: list[str], left: str) -> None:
        """Show how far the run is.

        Args:
            step: steps done.
            steps: of how many.
            losses: each with its name, the one that matters most first.
            left: the time left; empty while it is not known.
        """

    def end(self) -> None:
        """What is done when training has ended, one way or another."""


class Bar(RunProgress):
    """A bar in the last line of a terminal; where the line is short, the title and the bar give way.

    Args:
        console: where to draw.
        title: what is trained.
    """

    every = 0.25

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        fixed = Column(no_wrap=True)
        giving_way = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self._progress = Progress(
            *([TextColumn("{task.description}", table_column=giving_way)] if title else []),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            MofNCompleteColumn(table_column=fixed),
            TextColumn("{task.fields[left]}", table_column=fixed),
            TextColumn("{task.fields[losses]}", table_column=fixed),
            console=console,
            transient=True,
            auto_refresh=False,
            expand=True,
        )

    def begin(self, step: int, steps: int) -> None:
        """Show the bar."""
        self._task = self._progress.add_task(escape(self._title), total=steps, completed=step, losses="", left="")
        self._progress.start()

    def show(self, step: int, steps: int, losses: list[str], left: str) -> None:
        """Draw it again."""
        shown = losses if self._console.width >= ROOM_FOR_ALL else losses[:1]
        self._progress.update(self._task, completed=step, losses="  ".join(shown), left=left, refresh=True)

    def end(self) -> None:
        """Take the bar away."""
        self._progress.stop()


class Lines(RunProgress):
    """Lines for files and other readers that are no terminal.

    Args:
        console: where to write.
        title: what each line begins with.
    """

    every = 10.0

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title

    def show(self, step: int, steps: int, losses: list[str], left: str) -> None:
        """Write a line."""
        parts = [self._title, f"step {step}/{steps}", *losses, *([left] if left else [])]
        self._console.print("  ".join(parts), markup=False, soft_wrap=True)


def progress_on(console: Console, title: str) -> RunProgress:
    """What suits a terminal, or a file.

    Args:
        console: where it is shown.
        title: what is trained; empty where that was said before.
    """
    return Bar(console, title) if console.is_terminal else Lines(console, title)
