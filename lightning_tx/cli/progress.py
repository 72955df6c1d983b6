"""A progress bar that costs a step nothing."""

import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_tx.core import names
from lightning_tx.training.module import TrainingModule

REFRESH_SECONDS = 0.25


class ProgressBar(pl.Callback):
    """Steps done, the newest losses and the time left, on terminals only; redrawn a few times a second.

    Args:
        console: where to draw.
        title: what is trained.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._progress = Progress(
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._drawn = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        if self._progress.disable:
            return
        self._task = self._progress.add_task(
            escape(self._title), total=trainer.max_steps, completed=trainer.global_step, numbers=""
        )
        self._progress.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Redraw if the last time is long enough ago."""
        now = time.monotonic()
        if not self._progress.live.is_started or now - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = now
        assert isinstance(pl_module, TrainingModule)
        losses = (f"{names.TRAIN}loss", f"{names.VALIDATION}loss")
        shown = {name: pl_module.latest[name] for name in losses if name in pl_module.latest}
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
        self._progress.update(self._task, completed=trainer.global_step, numbers=numbers, refresh=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self._progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away."""
        self._progress.stop()
