"""What is kept of a run while it trains: a state to resume from, and the weights it may end with."""

import io
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lightning_tx.core import names
from lightning_tx.core.files import replaced
from lightning_tx.model.weights import save_weights
from lightning_tx.training.module import TrainingModule

LAST = "last.ckpt"
BEST = "best.safetensors"
#: Weights at the end of training, while those with the best primary metric are judged.
END = "end.safetensors"
#: Weights at one validation, to be averaged.
SNAPSHOTS = "snapshots"


class Checkpoints(pl.Callback):
    """Saves a state to resume from, bit for bit, and the weights with the best primary metric; ends training early.

    The state is saved before a step begins, when everything about the steps before it, validation included, has been
    recorded; the random generators are part of it.

    Args:
        folder: where the files go.
        every: steps between two states.
        metric: the metric that decides, as ``loss``.
        direction: ``min`` or ``max``.
        before_save: called before a state is written: what was logged up to it must be safe first.
        patience: validations without a better metric after which training ends; None for no end.
        average: how many last validations' weights are kept apart; None for none.
        final_validations: how many last validations' metrics are kept.

    Attributes:
        best: the validation metrics of the best step by name, and ``step``; empty before the first validation.
        latest: the metrics of the last validations by name, oldest first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: int,
        metric: str,
        direction: str,
        before_save: Callable[[], None],
        patience: int | None = None,
        average: int | None = None,
        final_validations: int = 1,
    ) -> None:
        self.folder, self.every, self.before_save = folder, every, before_save
        self.metric, self.sign = metric, {"min": 1.0, "max": -1.0}[direction]
        self.best: dict[str, float] = {}
        self.latest: list[dict[str, float]] = []
        self.patience, self.average, self.final_validations = patience, average, final_validations
        self._without_gain = 0
        self._saved_at = 0
        self._random: dict[str, Any] | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Restore the random generators after a resume; save a state when one is due."""
        if self._random is not None:
            _restore_random(self._random)
            self._random, self._saved_at = None, trainer.global_step
        step = trainer.global_step
        starts_step = trainer.fit_loop.epoch_loop.batch_idx % trainer.accumulate_grad_batches == 0
        if starts_step and step > self._saved_at and step % self.every == 0:
            assert isinstance(pl_module, TrainingModule)
            pl_module.check_weights()
            self._saved_at = step
            self.before_save()
            trainer.save_checkpoint(self.folder / LAST)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights if they are the best so far; end training if it is long ago that they were."""
        assert isinstance(pl_module, TrainingModule)
        found = {
            name.removeprefix(names.VALIDATION): value
            for name, value in pl_module.latest.items()
            if name.startswith(names.VALIDATION)
        }
        self.latest = [*self.latest, found][-self.final_validations :]
        if self.average is not None:
            self._keep_snapshot(pl_module, trainer.global_step, self.average)
        if self.best and not self._is_better(found[self.metric], self.best[self.metric]):
            self._without_gain += 1
            if self.patience is not None and self._without_gain >= self.patience:
                trainer.should_stop = True
            return
        self._without_gain = 0
        self.best = {**found, "step": trainer.global_step}
        save_weights(pl_module.model, self.folder / BEST)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Count the batch about to begin as not begun; else Lightning validates one batch early after a resume."""
        for counts in checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"].values():
            if isinstance(counts, dict):
                counts["ready"] = counts["started"] = counts["completed"]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the best and the latest metrics, and the random generators."""
        return {
            "best": self.best,
            "latest": self.latest,
            "without_gain": self._without_gain,
            "random": _random_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was made; the generators are restored when training starts."""
        self.best, self.latest, self._random = state_dict["best"], state_dict["latest"], state_dict["random"]
        self._without_gain = state_dict["without_gain"]

    def _is_better(self, value: float, best: float) -> bool:
        # Whatever follows a first metric that is no number can only be better.
        return self.sign * value < self.sign * best or math.isnan(best)

    def _keep_snapshot(self, module: TrainingModule, step: int, count: int) -> None:
        save_weights(module.model, self.folder / SNAPSHOTS / f"{step:09d}.safetensors")
        for path in snapshots(self.folder)[:-count]:
            path.unlink()


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place and puts it there in one step, so that what is there is always whole.

    Lightning's own goes by the system's folder for temporary files: from another disk it would be copied, and a process
    that is killed meanwhile would leave half of it in place of the state before.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the file ``path``."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)  # into a file that cannot grow, it would raise something else
        with replaced(Path(path)) as partial:
            partial.write_bytes(buffer.getbuffer())


def snapshots(folder: Path) -> list[Path]:
    """The weights kept apart, oldest first."""
    return sorted((folder / SNAPSHOTS).glob("*.safetensors"))


def discard_states(folder: Path) -> None:
    """Remove what a run resumes from, and the weights it has judged; what others put into the folder stays."""
    for name in (LAST, BEST, END):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / SNAPSHOTS, ignore_errors=True)


def steps_done(folder: Path) -> int:
    """The optimizer steps behind the state to resume from; 0 where there is none."""
    path = folder / LAST
    if not path.exists():
        return 0
    return torch.load(path, map_location="meta", weights_only=True, mmap=True)["global_step"]


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _random_state() -> dict[str, Any]:
    version, keys, gauss = random.getstate()
    name, state, *rest = np.random.get_state(legacy=True)
    return {
        "python": [version, list(keys), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(state).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore_random(state: dict[str, Any]) -> None:
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, numbers, *rest = state["numpy"]
    np.random.set_state((name, numbers.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"]:
        torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
