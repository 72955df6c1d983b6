"""A recorded run scored on a split of its data, and the score added to its record."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.group import Choice
from lightning_tx.core.schema import checked
from lightning_tx.data.base import DATA, Data
from lightning_tx.decoding.base import DECODING, Decoding
from lightning_tx.model.body import MODEL
from lightning_tx.runs.loading import LoadedRun
from lightning_tx.task.base import TASK, Task, problems_of
from lightning_tx.task.evaluator import WithOutputs
from lightning_tx.tracking.code import code_digest, code_state
from lightning_tx.tracking.environment import environment
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.values import Point
from lightning_tx.training.options import TrainerOptions

_DIGEST_CHARACTERS = 8


SplitToScore = Literal["validation", "test"]


@dataclass(frozen=True)
class Evaluation:
    """What a run's model is worth on a split.

    Attributes:
        name: where it is recorded below ``evaluate``: the split and, where something was decoded, the decoding; for
            data that the run was not trained on, their digest before it.
        numbers: the metrics.
        files: what the evaluator has to show besides numbers, by name.
        timing: ``seconds`` of everything but loading; where something was decoded, what that took
            (:meth:`WithOutputs.timing`).
        examples: how many the split has.
        data_digest: of the data.
        own_data: whether these are the data that the run was trained on.
        config: what it was done with: the groups data, task and decoding, and the batch.
    """

    name: str
    numbers: dict[str, float]
    files: dict[str, str | bytes]
    timing: dict[str, float]
    examples: int
    data_digest: str
    own_data: bool
    config: dict[str, Any]


@torch.inference_mode()
def evaluate(
    loaded: LoadedRun, config: Mapping[str, Any], split: SplitToScore, *, cache: Path, other_data: bool = False
) -> Evaluation:
    """Score a run's model on a split, in float32.

    Args:
        loaded: the run.
        config: the run's config, or one that differs in ``data``, ``decoding`` or the batch of ``trainer``.
        split: what it is scored on.
        cache: folder for prepared data.
        other_data: whether data with another digest than that of the run will do.

    Raises:
        ConfigError: the config has a problem, the data cannot be read or are others, or the split is empty.
    """
    chosen = _Chosen.parse(config)
    options, task = chosen.trainer, chosen.task.create()
    splits = chosen.data.create().load(cache)
    recorded = loaded.record.facts.get("data", "none recorded")
    own_data = splits.digest == recorded
    if not own_data and not other_data:
        raise ConfigError(
            f"data: the digest of these data is {splits.digest}, but the run was trained on others ({recorded}). "
            "To score it on these all the same, say --other-data."
        )
    model = loaded.model
    corpus = task.prepare(splits, loaded.tokenizers, cache)
    batches = task.eval_batches(corpus, split, max_seq_len=model.max_seq_len, batch=options.batch)
    if batches is None:
        there = [f"{name} ({len(getattr(splits, name))})" for name in ("train", "validation", "test")]
        raise ConfigError(f"--split: the {split} split of these data is empty. Examples: {', '.join(there)}.")
    decoding = chosen.decoding.create()
    evaluator = task.final_evaluator(corpus, split, decoding) if task.decodes else task.evaluator(corpus, split)
    evaluator.to(model.device)
    began = time.perf_counter()
    for batch in batches:
        evaluator.update(model, batch.to(model.device))
    numbers = {name: float(value) for name, value in evaluator.compute().items()}
    seconds = time.perf_counter() - began
    parts = [split] if own_data else [f"other-{splits.digest[:_DIGEST_CHARACTERS]}", split]
    if task.decodes:
        parts.append(label_of(chosen.decoding))
    return Evaluation(
        name="/".join(parts),
        numbers=numbers,
        files=evaluator.files() if isinstance(evaluator, WithOutputs) else {},
        timing={"seconds": seconds, **(evaluator.timing() if isinstance(evaluator, WithOutputs) else {})},
        examples=len(getattr(splits, split)),
        data_digest=splits.digest,
        own_data=own_data,
        config={
            **{group: config[group] for group in ("data", "task", "decoding")},
            "batch": {"sequences": options.batch.sequences, "tokens": options.batch.tokens},
        },
    )


@dataclass(frozen=True)
class _Chosen:
    """What of a run's config an evaluation reads."""

    data: Choice[Data[Any]]
    task: Choice[Task]
    decoding: Choice[Decoding]
    trainer: TrainerOptions

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        trainer, problems = checked(TrainerOptions, raw["trainer"], "trainer")
        problems += [problem for group in (DATA, DECODING, TASK) for problem in group.problems(raw[group.name])]
        if problems:
            raise ConfigError(problems)
        data, task, decoding = DATA.parse(raw["data"]), TASK.parse(raw["task"]), DECODING.parse(raw["decoding"])
        problems = problems_of(task, MODEL.parse(raw["model"]), data)
        if problems:
            raise ConfigError(problems)
        return cls(data, task, decoding, cast(TrainerOptions, trainer))


def label_of(decoding: Choice[Decoding]) -> str:
    """A decoding's name and what differs from its defaults, in letters that a metric's name may have."""
    changed = [f"{name}-{value}" for name, value in decoding.changed().items()]
    return re.sub(r"[^\w.-]", "_", "-".join([decoding.name, *changed]))


def record(store: Store, run_id: str, evaluation: Evaluation) -> tuple[str, int]:
    """Add an evaluation to its run; nothing that is recorded already is replaced.

    Numbers are metrics ``evaluate/<name>/...``, their step the number of earlier evaluations of that name. Files, and
    what they were made with, lie below ``evaluate/<name, its parts joined by dashes>-<step>``.

    Returns:
        The artifacts' folder, and the step.
    """
    stem = f"{names.EVALUATE_FOLDER}/{evaluation.name.replace('/', '-')}-"
    values = {**evaluation.numbers, **evaluation.timing}
    metrics = {f"{names.EVALUATE_FOLDER}/{evaluation.name}/{name}": value for name, value in values.items()}
    with store.lock():
        earlier = store.artifacts(run_id, names.EVALUATE_FOLDER)
        numbers = [path.removeprefix(stem) for path in earlier if path.startswith(stem)]
        step = max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)
        step = max([step, *(points[-1][0] + 1 for name in metrics if (points := store.history(run_id, name)))])
        for name, content in evaluation.files.items():
            store.log_content(run_id, f"{stem}{step}/{name}", content)
        store.log_json(run_id, f"{stem}{step}/{names.EVALUATION_FILE}", facts(evaluation))
        if not evaluation.own_data:
            tag = f"{names.OTHER_DATA}{evaluation.data_digest[:_DIGEST_CHARACTERS]}"
            store.set_tags(run_id, {tag: evaluation.data_digest})
        now = int(time.time() * 1000)
        store.log_points(run_id, [Point(name, value, now, step) for name, value in metrics.items()])
    return f"{stem}{step}", step


def facts(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as plain values, without its files."""
    return {
        "numbers": evaluation.numbers,
        "timing": evaluation.timing,
        "examples": evaluation.examples,
        "data_digest": evaluation.data_digest,
        "own_data": evaluation.own_data,
        "config": evaluation.config,
        "code": {
            "digest": code_digest(),
            **({"commit": state.commit, "dirty": state.dirty} if (state := code_state()) else {}),
        },
        "environment": environment(),
    }
