"""The one LightningModule: any model on any task."""

from dataclasses import dataclass
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_tx.core import names
from lightning_tx.core.context import Mean, Sublayer
from lightning_tx.core.errors import DivergedError
from lightning_tx.model.body import Body
from lightning_tx.schedule.base import Schedule
from lightning_tx.task.base import Task
from lightning_tx.task.evaluator import Evaluator, WithOutputs, WithTargets
from lightning_tx.training.curve import Curve, Stopwatch, gather


@dataclass(frozen=True)
class Judgement:
    """What an evaluator found.

    Attributes:
        numbers: by name.
        files: what it has to show besides, by name.
        timing: what decoding took, by name.
    """

    numbers: dict[str, float]
    files: dict[str, str | bytes]
    timing: dict[str, float]


class TrainingModule(pl.LightningModule):
    """Trains a model on a task.

    The gradient of a step is that of the mean over all targets of its accumulated batches, whatever their sizes.

    Args:
        model: the model.
        task: the objective.
        optimizer: over the parameters of ``model``.
        schedule: learning rate by step.
        evaluators: ``val`` judges the validation split while training, ``validation`` and ``test`` judge those splits
            at the end. Without ``validation``, the numbers of ``val`` stand.
        gradient_clip: largest norm of the gradient; None for none.
        log_every: steps between points of the training curve.

    Attributes:
        latest: the newest value of every number that was logged.
        tested: which evaluator a test run fills.
        judgement: what the last test run found.
        targets: by evaluator, how many targets its loss was a mean over.
        files: what evaluators had to show besides numbers, by ``best/name`` and ``test/name``.
    """

    def __init__(
        self,
        model: Body,
        task: Task,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        evaluators: dict[str, Evaluator],
        *,
        gradient_clip: float | None,
        log_every: int,
    ) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.evaluators = nn.ModuleDict(evaluators)
        self.gradient_clip, self.log_every = gradient_clip, log_every
        self.latest: dict[str, float] = {}
        self.tested = "test"
        self.judgement = Judgement({}, {}, {})
        self.targets: dict[str, int] = {}
        self.files: dict[str, str | bytes] = {}
        self._optimizer, self._schedule = optimizer, schedule
        self._curve, self._stopwatch = Curve(), Stopwatch()
        self._targets_timed = 0.0
        self._positions = 0
        self._counts: list[Tensor] = []
        # The first step since the last look whose gradient was no number, 0 for none; kept on the device.
        self._broken_at: Tensor | None = None
        self._stats: dict[str, Mean] = {}
        self._sublayers = [module for module in model.modules() if isinstance(module, Sublayer)]

    def configure_optimizers(self) -> Any:
        """The optimizer, its learning rate set by the schedule at every step."""
        scheduler = LambdaLR(self._optimizer, lambda steps_done: self._schedule(steps_done + 1))
        return {"optimizer": self._optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """The loss to differentiate: a sum over targets, divided by the target count of the window's first batch.

        What is missing to a mean over the whole window is made up for once, before the optimizer steps.
        """
        loss = self.task.loss(self.model, batch)
        self._counts.append(loss.count.detach())
        self._positions += self.task.num_positions(batch)
        self._curve.add(loss)
        gather(self._stats, loss.stats)
        # Lightning divides by accumulate_grad_batches, which would average batches instead of targets.
        return loss.total() * (self.trainer.accumulate_grad_batches / self._counts[0].clamp(min=1))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Turn the accumulated gradient into that of the mean over all targets of the window.

        A window without a target leaves the weights as they are, weight decay and momentum included.
        """
        targets = torch.stack(self._counts).sum()
        trained = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        if not targets:
            for parameter in trained:
                parameter.grad = None
        elif len(self._counts) > 1:
            factor = self._counts[0].clamp(min=1) / targets
            for parameter in trained:
                cast(Tensor, parameter.grad).mul_(factor)
        self._counts.clear()

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Clip the gradient by its norm, and keep the norm for the training curve."""
        trained = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm([cast(Tensor, parameter.grad) for parameter in trained])
        self._curve.step(norm, self._stats)
        here = torch.where(norm.isfinite(), 0, self.global_step + 1)
        self._broken_at = here if self._broken_at is None else torch.where(self._broken_at > 0, self._broken_at, here)
        if self.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(trained, self.gradient_clip, norm)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """After an optimizer step: move what learns without a gradient; draw a point of the training curve if due.

        A point is due every ``log_every`` steps and at the end.
        """
        if (batch_index + 1) % self.trainer.accumulate_grad_batches:
            return
        for sublayer in self._sublayers:
            sublayer.after_step(self._stats)
        self._stats.clear()
        step = self.global_step
        if step % self.log_every == 0 or step == self.trainer.max_steps:
            self.check_weights()
            point = self._curve.point()
            self._targets_timed += point.pop("targets")
            point["lr"] = self._schedule(step)
            speed = {names.TOKENS_PER_SECOND: self._targets_timed / self._stopwatch.seconds}
            self.record({f"{names.TRAIN}{name}": value for name, value in point.items()} | speed)

    def check_weights(self, *, at_the_end: bool = False) -> None:
        """Refuse weights that are no numbers any more.

        They are looked at where a gradient was none since they were looked at last, or at the end of training.

        Raises:
            DivergedError: with the step at which that happened.
        """
        step = 0 if self._broken_at is None else int(self._broken_at)
        self._broken_at = None
        if not step and not at_the_end:
            return
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise DivergedError(f"diverged at step {step or self.global_step}: the weights are no numbers any more.")

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Run the model on a batch of the validation split."""
        cast(Evaluator, self.evaluators["val"]).update(self.model, batch)

    def test_step(self, batch: Any, batch_index: int) -> None:
        """Run the model on a batch for the evaluator that is asked for."""
        cast(Evaluator, self.evaluators[self.tested]).update(self.model, batch)

    def on_validation_epoch_end(self) -> None:
        """Report what the validation split says under ``val/``."""
        self.record({f"{names.VALIDATION}{name}": value for name, value in self._numbers("val").items()})

    def on_test_epoch_end(self) -> None:
        """Keep what the evaluator that was asked for has found; whoever asked reports it."""
        found = self.evaluators[self.tested]
        files, timing = (found.files(), found.timing()) if isinstance(found, WithOutputs) else ({}, {})
        self.judgement = Judgement(self._numbers(self.tested), files, timing)

    def record(self, values: dict[str, float]) -> None:
        """Send numbers to the logger, at the current step."""
        self.latest.update(values)
        if self.logger is not None:
            self.logger.log_metrics(values, step=self.global_step)

    def on_train_start(self) -> None:
        """Start the clock."""
        self._stopwatch.start()

    def on_train_end(self) -> None:
        """Report what training took in all: ``train/tokens`` is how many targets were trained on.

        ``train/positions`` counts the tokens that were computed, padding and tokens without a target included.
        """
        self._stopwatch.stop()
        self.record(
            {
                names.TRAINED_TOKENS: self._targets_timed + self._curve.targets,
                names.TRAINED_POSITIONS: self._positions,
                names.TRAIN_SECONDS: self._stopwatch.seconds,
            }
        )

    def on_validation_start(self) -> None:
        """Validation is not training time, and weights that are no numbers are not judged."""
        self._stopwatch.stop()
        self.check_weights()

    def on_validation_end(self) -> None:
        """Go on with the clock."""
        self._stopwatch.start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the half-drawn point of the curve, and what training took until now."""
        checkpoint["curve"] = self._curve.state_dict()
        checkpoint["costs"] = {
            "targets": self._targets_timed,
            "positions": self._positions,
            "seconds": self._stopwatch.seconds,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the checkpoint was made; what was done after it and lost does not count."""
        self._curve.load_state_dict(checkpoint["curve"])
        costs = checkpoint["costs"]
        self._targets_timed, self._positions = costs["targets"], costs["positions"]
        self._stopwatch = Stopwatch(costs["seconds"])

    def _numbers(self, name: str) -> dict[str, float]:
        evaluator = cast(Evaluator, self.evaluators[name])
        numbers = evaluator.compute()
        if isinstance(evaluator, WithTargets):
            self.targets[name] = int(evaluator.targets)
        evaluator.reset()
        return numbers
