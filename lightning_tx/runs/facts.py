"""What a run is made of besides its config, as it is recorded, and the precision that a study's runs share."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

import lightning_tx
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.materials import Materials
from lightning_tx.task.base import Task
from lightning_tx.tracking.code import code_digest
from lightning_tx.tracking.study import Study
from lightning_tx.training.device import device_name
from lightning_tx.training.options import TrainerOptions
from lightning_tx.training.precision import Precision, choose_common_precision, without_bfloat16

#: By the evaluator of a training module, the fact that says how many targets its loss is a mean over.
TARGETS = {"val": "validation_targets", "test": "test_targets"}


def facts_of(
    materials: Materials, task: Task, options: TrainerOptions, *, max_seq_len: int, precision: Precision
) -> dict[str, Any]:
    """What is known of a run before it trains, by name."""
    return {
        "data": materials.splits.digest,
        "validation_data": materials.splits.digests["validation"],
        "test_data": materials.splits.digests["test"],
        "tokenizer": materials.tokenizers.digest,
        "objective": task.objective(max_seq_len=max_seq_len, batch=options.batch),
        "precision": precision,
        "device": device_name(options.accelerator),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "lightning_tx": lightning_tx.__version__,
        "code": code_digest(),
    }


def targets_of(counts: Mapping[str, int]) -> dict[str, int]:
    """The facts that are known after the evaluation, from the counts of a training module's evaluators."""
    return {fact: counts[metric] for metric, fact in TARGETS.items() if metric in counts}


def settle_precision(study: Study, configs: Iterable[RunConfig]) -> tuple[Precision, str] | None:
    """The precision of a study's runs that leave it open, and the reason in words; None where no config does.

    Runs of one study are compared, so that all of them train in the same precision, whatever their width. The first
    configs that the study is asked about decide; it keeps the answer.

    Args:
        study: the study.
        configs: the configs of runs that are to belong to it.
    """
    open_ones = [
        (config.trainer.accelerator, config.d_model) for config in configs if config.trainer.precision == "auto"
    ]
    if not open_ones:
        return None
    chosen, why = choose_common_precision(open_ones)
    precision: Precision = 32 if study.keep_precision(str(chosen)) == "32" else "bf16-mixed"
    reason = f"for all runs of study {study.name!r}"
    if precision == chosen:
        return precision, f"{reason}, {why}"
    obstacle = next(filter(None, (without_bfloat16(accelerator) for accelerator, _ in open_ones)), "")
    slow = f", though {obstacle}" if precision != 32 and obstacle else ""
    return precision, f"{reason}, as its first runs were{slow}"
