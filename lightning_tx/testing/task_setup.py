"""What a task is checked with: a small model for it, a few batches, and the same batches in another form."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.group import Choice
from lightning_tx.data.base import DATA, Splits
from lightning_tx.data.batch import IGNORE, BatchSize, Tensors
from lightning_tx.model.body import MODEL, Body
from lightning_tx.model.build import build_model
from lightning_tx.task.base import TASK, Loss, Task
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.testing.baseline import BASELINE, TOPOLOGIES, sized
from lightning_tx.testing.component import Component
from lightning_tx.testing.results import NotApplicable
from lightning_tx.testing.values import GENTLE, randomise, seeded
from lightning_tx.tokenizer.base import TOKENIZER
from lightning_tx.tokenizer.sides import Tokenizers

#: Tokens of a row, which leaves room for padding.
LENGTH = 12
TEXTS = [f"{word} {n}" for n, word in enumerate(("one", "word", "x", "🙂", "too long to train on") * 4)]


@dataclass(frozen=True)
class Setup:
    """A task with what it needs.

    Attributes:
        task: the task.
        model: in float64 and evaluation, with a mixture of experts, which returns auxiliary losses.
        corpus: as the task has prepared it.
        batches: of the validation split.
    """

    task: Task
    model: Body
    corpus: Any
    batches: Sequence[Any]

    def loss(self, batch: Any) -> Loss:
        """The objective on a batch, without gradients."""
        with seeded(0), torch.no_grad():
            return self.task.loss(self.model, batch)

    def evaluator(self) -> Evaluator:
        """A new evaluator of the validation split."""
        return self.task.evaluator(self.corpus, "validation")

    @torch.no_grad()
    def metrics(self, batches: Sequence[Any]) -> dict[str, float]:
        """What the evaluator says of some batches."""
        evaluator = self.evaluator()
        for batch in batches:
            evaluator.update(self.model, batch)
        return evaluator.compute()

    def eval_batches(self, size: BatchSize) -> list[Any]:
        """The validation split in batches of another size."""
        return list(self.task.eval_batches(self.corpus, "validation", max_seq_len=LENGTH, batch=size) or [])

    def train_batches(self, seed: int) -> Any:
        """What gives the batches of an epoch."""
        return self.task.train_batches(self.corpus, max_seq_len=LENGTH, batch=BatchSize(sequences=2), seed=seed)


@lru_cache(maxsize=1)
def setup_of(subject: Component) -> Setup:
    """Prepare a task for a few texts, or pairs of them, once for a subject.

    Raises:
        NotApplicable: no small model takes the task, or its batches are of a kind whose rows nobody else can tell.
    """
    task: Task = TASK.create(subject.config)
    examples: Sequence[Any] = TEXTS if task.texts_per_example == 1 else list(pairwise(TEXTS))
    splits = Splits(examples, examples[:7], [])
    byte: Any = TOKENIZER.create({"name": "byte"})
    byte.special_tokens = (*byte.special_tokens, *task.special_tokens)
    tokenizers = Tokenizers.of([byte.train(texts) for texts in task.tokenizer_texts(splits)])
    # Mapped into memory, and read from there after the folder has gone.
    with tempfile.TemporaryDirectory() as cache:
        corpus = task.prepare(splits, tokenizers, Path(cache))
        batches = task.eval_batches(corpus, "validation", max_seq_len=LENGTH, batch=BatchSize(sequences=3))
        batches = list(batches or [])[:3]
    if not batches or not all(isinstance(batch, Tensors) for batch in batches):
        raise NotApplicable("its batches are no records of tensors, so that what a row is cannot be told")
    return Setup(task, _model(subject, task, splits, tokenizers), corpus, batches)


def num_rows(batch: Tensors) -> int:
    """How many rows a batch has."""
    return max(len(tensor) for _, tensor in _by_row(batch))


def rows_of(batch: Any, rows: list[int]) -> Any:
    """Some rows of a batch."""
    index = torch.tensor(rows)
    count = num_rows(batch)
    return replace(batch, **{name: tensor[index] for name, tensor in _by_row(batch) if len(tensor) == count})


def with_targets(batch: Any, chosen_BT: Tensor) -> Any:
    """A batch in which some of the targets are left."""
    return replace(batch, targets_BT=batch.targets_BT.masked_fill(~chosen_BT, IGNORE))


def padded(batch: Any, number: int) -> Any:
    """A batch with more padding on the right of every row, in which there are tokens that must not matter."""
    changed = {}
    for field in fields(batch):
        name, kind, tensor = field.name, field.name.rpartition("_")[2], getattr(batch, field.name)
        if kind not in ("BT", "BS"):
            continue
        if tensor is None and "mask" in name:
            like = next(each for other, each in _by_row(batch) if other.endswith(kind))
            tensor = torch.ones(like.shape, dtype=torch.bool)
        if tensor is not None:
            changed[name] = torch.cat([tensor, _padding(name, tensor, number)], dim=1)
    return replace(batch, **changed)


def same(one: Any, two: Any) -> bool:
    """Whether two batches hold the same."""
    tensors, others = dict(_by_row(one)), dict(_by_row(two))
    return tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)


def _padding(name: str, tensor: Tensor, number: int) -> Tensor:
    last = tensor[:, -1:].expand(-1, number)
    if "mask" in name:
        return torch.zeros_like(last)
    if name.startswith("targets"):
        return torch.full_like(last, IGNORE)
    if name.startswith("positions"):
        return last + torch.arange(1, number + 1)
    if name.startswith("documents"):
        return last
    return torch.full_like(last, 40) + torch.arange(number)


def _by_row(batch: Any) -> list[tuple[str, Tensor]]:
    """The tensors whose first dimension is the rows, by the suffix of their names."""
    named = [(field.name, getattr(batch, field.name)) for field in fields(batch)]
    return [(name, each) for name, each in named if each is not None and name.rpartition("_")[2].startswith("B")]


def _model(subject: Component, task: Task, splits: Splits[Any], tokenizers: Tokenizers) -> Body:
    """A small model of the first topology that the task takes."""
    sources = [name for name in DATA.names() if DATA.get(name).texts_per_example == task.texts_per_example]
    data = Choice(DATA, sources[0], DATA.get(sources[0]), {})
    reasons = []
    for topology in TOPOLOGIES:
        config = sized({"name": topology}, vocab_size=None)
        chosen = {"model": config, **BASELINE, "feed_forward": {"name": "moe", "num_experts": 4}}
        problems = task.problems(MODEL.parse(config), data)
        if problems:
            reasons += problems
            continue
        try:
            model = build_model(
                chosen,
                vocab_size=tokenizers.target.vocab_size,
                source_vocab_size=tokenizers.source.vocab_size,
                num_classes=task.num_classes(splits),
                head=task.head,
            )
        except ConfigError as error:
            reasons += error.problems
            continue
        return cast(Body, randomise(model.double(), std=GENTLE).eval())
    raise NotApplicable(f"no small model takes it: {reasons[-1]}")
