"""How a run ends: its last weights, by which it is compared, and the weights that it keeps are judged."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import pytorch_lightning as pl

from lightning_tx.core import names
from lightning_tx.model.weights import load_mean, load_weights, save_weights
from lightning_tx.training.checkpoint import BEST, END, Checkpoints, snapshots
from lightning_tx.training.module import Judgement, TrainingModule
from lightning_tx.training.stream import loader_of


def conclude(
    trainer: pl.Trainer,
    module: TrainingModule,
    checkpoints: Checkpoints,
    batches: Mapping[str, Any | None],
    *,
    keep_last: bool = False,
) -> None:
    """Record the numbers of a trained run, and load the weights that it keeps.

    Variants are compared by ``last/...`` and ``last_test/...``, those of the weights at the end of training: how often
    a run was validated has no part in them. ``best/...`` and ``test/...`` are those of the weights that were chosen for
    their validation, and which it keeps unless told otherwise. Where weights are averaged, the run ends with the mean
    and keeps it. What two of them share is judged once.

    The module's evaluator ``validation``, if it has one, judges weights on the validation split. Without it the numbers
    are those of validations: the best one, and the mean over the last ones.

    Args:
        trainer: which has trained the module.
        module: with the weights at the end of training.
        checkpoints: what was kept on the way.
        batches: those of ``validation`` and of ``test``; None where a split is empty.
        keep_last: whether the weights at the end of training are those that it keeps.
    """

    def judge(split: str) -> Judgement | None:
        if split not in module.evaluators or batches[split] is None:
            return None
        module.tested = split
        trainer.test(module, loader_of(batches[split]), verbose=False)
        return module.judgement

    averaged, best, steps = checkpoints.average is not None, checkpoints.best, trainer.global_step
    if averaged:
        load_mean(module.model, snapshots(checkpoints.folder))
    validated = _mean_of_last(checkpoints)
    last, last_test = judge("validation"), judge("test")
    kept, kept_test = last, last_test
    if not averaged and best["step"] != steps:
        save_weights(module.model, checkpoints.folder / END)
        load_weights(module.model, checkpoints.folder / BEST)
        kept, kept_test = judge("validation"), judge("test")
        if keep_last:
            load_weights(module.model, checkpoints.folder / END)
    numbers = {
        names.LAST: {**(last.numbers if last else validated), "step": steps},
        names.LAST_TEST: last_test.numbers if last_test else {},
        names.BEST: {**(kept.numbers if kept else best), "step": best["step"]},
        names.TEST: kept_test.numbers if kept_test else {},
    }
    if averaged:
        del numbers[names.BEST]["step"]
    module.record({f"{prefix}{name}": float(value) for prefix, each in numbers.items() for name, value in each.items()})
    for prefix, judgement in ((names.BEST, kept), (names.TEST, kept_test)):
        if judgement is not None:
            module.files |= {f"{prefix}{name}": text for name, text in judgement.files.items()}
            module.record({f"{names.DECODING}{prefix}{name}": value for name, value in judgement.timing.items()})


def _mean_of_last(checkpoints: Checkpoints) -> dict[str, float]:
    return {name: fmean(float(each[name]) for each in checkpoints.latest) for name in checkpoints.latest[-1]}
