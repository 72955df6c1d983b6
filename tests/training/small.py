"""A training run of a second on random tokens, through ``fit``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.model.body import Body
from lightning_tx.model.build import build_model
from lightning_tx.optimizer.base import OPTIMIZER
from lightning_tx.schedule.base import SCHEDULE
from lightning_tx.task.causal_lm import CausalLM, Likelihood
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.training.fit import fit
from lightning_tx.training.module import TrainingModule
from lightning_tx.training.options import TrainerOptions
from tests.model.configs import config as model_config


class Loader:
    """Batches of given sizes, a third of their targets ignored; the epoch shows in the tokens."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.epoch, self.start = sizes, 0, 0

    def __len__(self) -> int:
        return len(self.sizes)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        self.epoch, self.start = epoch, start

    def batch(self, index: int) -> Batch:
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        tokens = torch.randint(4, 60, (self.sizes[index], 9), generator=generator)
        targets = tokens[:, 1:].clone()
        targets[torch.rand(targets.shape, generator=generator) < 0.3] = IGNORE
        return Batch(tokens[:, :-1], targets)

    def __iter__(self) -> Iterator[Batch]:
        return (self.batch(index) for index in range(self.start, len(self)))


def small_model(**parts: Any) -> Body:
    return build_model(model_config(sizes={"vocab_size": 60}, **parts), seed=3)


def train(
    model: Body,
    sizes: list[int],
    folder: Path,
    *,
    task: CausalLM | None = None,
    evaluators: dict[str, Evaluator] | None = None,
    callbacks: Any = (),
    test: Any = None,
    **options: Any,
) -> TrainingModule:
    """Train a model for a few steps; see :func:`fit`."""
    settings = TrainerOptions(
        **{"accelerator": "cpu", "max_steps": 6, "val_every": 3, "log_every": 2, "checkpoint_every": 100} | options
    )
    module = TrainingModule(
        model,
        task or CausalLM(),
        OPTIMIZER.create({"name": "adamw", "lr": 0.01, "weight_decay": 0.1}, model),
        SCHEDULE.create({"name": "cosine", "warmup_steps": 2}, 0.01, settings.max_steps, 16),
        evaluators or {"val": Likelihood(100), "test": Likelihood(100)},
        gradient_clip=settings.gradient_clip,
        log_every=settings.log_every,
    )
    fit(
        module,
        settings,
        train=Loader(sizes),
        validation=list(Loader([2, 3])),
        test=test,
        folder=folder,
        precision=32,
        logger=False,  # pyright: ignore[reportArgumentType]
        before_save=lambda: None,
        callbacks=list(callbacks),
    )
    return module
