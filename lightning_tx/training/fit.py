"""One training run from a built model to its best weights and final metrics."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from lightning_tx.core import names
from lightning_tx.core.errors import DivergedError
from lightning_tx.model.weights import save_weights
from lightning_tx.training.checkpoint import LAST, Checkpoints, WholeFiles, steps_done
from lightning_tx.training.ending import conclude
from lightning_tx.training.module import TrainingModule
from lightning_tx.training.options import TrainerOptions
from lightning_tx.training.stream import Stream, loader_of

#: What Lightning has to say about choices that are made here on purpose.
EXPECTED_WARNINGS = (
    ".*does not have many workers.*",
    ".*`IterableDataset` has `__len__` defined.*",
    ".*is not resumable.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*found \\d+ module\\(s\\) in eval mode.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
)


def fit(
    module: TrainingModule,
    options: TrainerOptions,
    *,
    train: Any,
    validation: Any,
    test: Any | None,
    folder: Path,
    precision: Any,
    logger: Logger,
    before_save: Any,
    callbacks: list[pl.Callback],
) -> dict[str, float]:
    """Train to the end, from the folder's checkpoint if there is one; then judge the run (:func:`conclude`).

    The module ends with the weights that the run keeps, which are written to the folder as well; where it keeps none,
    with the best.

    Args:
        module: what to train.
        options: the config folder ``trainer``.
        train: loader of training batches.
        validation: validation batches.
        test: test batches, looked at once training has ended; None for none.
        folder: where checkpoints are kept.
        precision: ``32`` or ``bf16-mixed``.
        logger: where metrics go.
        before_save: called before each checkpoint, to make what was logged safe.
        callbacks: further Lightning callbacks.

    Raises:
        DivergedError: the weights are no numbers any more; the last state that was kept stays.

    Returns:
        ``last/...`` and ``best/...`` and, if there is a test split, ``last_test/...`` and ``test/...`` metrics.
    """
    checkpoints = Checkpoints(
        folder,
        every=options.checkpoint_every,
        metric=module.task.primary,
        direction=module.task.direction,
        before_save=before_save,
        patience=options.patience,
        average=options.average,
        final_validations=options.final_validations,
    )
    stream = Stream(train)
    stream.start = steps_done(folder) * options.accumulate
    if options.compile:
        module.model.compile()
    with quiet():
        trainer = pl.Trainer(
            accelerator=options.accelerator,
            devices=1,
            precision=precision,
            max_steps=options.max_steps,
            max_epochs=-1,
            accumulate_grad_batches=options.accumulate,
            val_check_interval=options.val_every * options.accumulate,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            logger=logger,
            callbacks=[checkpoints, *callbacks],
            plugins=[WholeFiles()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            inference_mode=True,
        )
        resume = folder / LAST if stream.start else None
        try:
            trainer.fit(module, loader_of(stream), loader_of(validation), ckpt_path=resume, weights_only=True)
            module.check_weights(at_the_end=True)
        except DivergedError as error:
            step = steps_done(folder)
            kept = f"Its state at step {step} is kept." if step else "No state was kept before that."
            raise DivergedError(f"{error} {kept}") from error
        if trainer.global_step % options.val_every:
            trainer.validate(module, loader_of(validation), verbose=False)
        splits = {"validation": validation, "test": test}
        conclude(trainer, module, checkpoints, splits, keep_last=options.keep == "last")
    if options.keeps_weights:
        save_weights(module.model, folder / names.WEIGHTS_FILE)
    judged = (names.LAST, names.LAST_TEST, names.BEST, names.TEST)
    return {name: value for name, value in module.latest.items() if name.startswith(judged)}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and remarks on deliberate choices off the screen."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
