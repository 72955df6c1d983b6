"""Tasks and decoding: what a run is asked for, and what it writes."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.base import Splits
from lightning_tx.data.batch import IGNORE, Batch, BatchSize
from lightning_tx.groups import GROUPS
from lightning_tx.model.build import build_model
from lightning_tx.testing.baseline import BASELINE, sized
from lightning_tx.testing.component import Component
from lightning_tx.testing.properties.texts import TEXTS
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.values import generator_states, seeded
from lightning_tx.tokenizer.sides import Tokenizers


@holds(about="component", groups=("task",), usually="primary not set, or not among its measures.")
def task_says_what_is_better(subject: Component) -> None:
    """A task says of its measures whether less or more is better, which is primary, and what its data must be."""
    task: Any = GROUPS["task"].create(subject.config)
    directions = {name: measure.direction for name, measure in task.measures.items()}
    if (
        task.primary not in directions
        or not set(directions.values()) <= {"min", "max"}
        or task.texts_per_example not in (1, 2)
    ):
        raise Violation(f"primary {task.primary!r}, measures {directions!r}, texts {task.texts_per_example!r}.")


@holds(
    about="component",
    groups=("task",),
    tolerance="1e-9",
    usually="a division by all places, or a count of them, instead of those that have a target.",
)
def a_loss_counts_targets(subject: Component) -> None:
    """A loss counts the places with a target, and its sum is that over them, however they are batched."""
    task, model, batches = _trained_on(subject)
    for batch in batches:
        # The last places lose their targets: what is left counts.
        fewer = Batch(
            batch.tokens_BT, batch.targets_BT.clone(), batch.positions_BT, batch.documents_BT, batch.token_mask_BT
        )
        fewer.targets_BT[:, -5:] = IGNORE
        for each in (batch, fewer):
            found = _loss(task, model, each)
            wanted = int((each.targets_BT != IGNORE).sum())
            if int(found.count) != wanted:
                raise Violation(f"{wanted} places have a target, and the loss counts {int(found.count)}.")
        rows = [_loss(task, model, _row(batch, row)) for row in range(len(batch.tokens_BT))]
        together, whole = sum(float(row.sum) for row in rows), float(_loss(task, model, batch).sum)
        if abs(together - whole) > 1e-9 * max(1.0, abs(whole)):
            raise Violation(f"the sum of a batch is {whole:.9g}, and of its rows by themselves {together:.9g}.")


@holds(about="component", groups=("task",), usually="a Loss without the auxiliary losses that the model returned.")
def a_loss_has_the_models_auxiliary_losses(subject: Component) -> None:
    """The auxiliary losses and stats that a model returns are part of the task's loss."""
    task, model, batches = _trained_on(subject, feed_forward={"name": "moe", "num_experts": 4})
    found = _loss(task, model, batches[0])
    if not found.auxiliary or not found.stats:
        raise Violation("with a mixture of experts the loss has no auxiliary losses, or no stats.")
    extra = sum(float(value) * weight for value, weight in found.auxiliary.values()) * int(found.count)
    if abs(float(found.total()) - float(found.sum) - extra) > 1e-6 * max(1.0, abs(extra)):
        raise Violation("the total is not the sum of the objective and the weighted auxiliary losses.")


@holds(
    about="component",
    groups=("decoding",),
    usually="numbers drawn from the global generator, where every row has a seed of its own.",
)
def rows_decode_by_themselves(subject: Component) -> None:
    """What comes of a row depends on its own scores and seed alone: not on the rows beside it, nor on their order."""
    decoding: Any = GROUPS["decoding"].create(subject.config)
    rows = [0, 1, 2, 3]
    together = _decoded(decoding, rows)
    for order in ([0], [3, 1], [2, 3, 0, 1]):
        for row, own in zip(order, _decoded(decoding, order), strict=True):
            if own != together[row]:
                raise Violation(f"row {row} becomes {together[row]} among {rows}, and {own} among {order}.")


@holds(
    about="component",
    groups=("decoding",),
    usually="torch.multinomial or torch.rand without generator=.",
)
def decoding_leaves_generators_alone(subject: Component) -> None:
    """Decoding draws nothing from the generators of the caller, and gives the same whatever they hold."""
    decoding: Any = GROUPS["decoding"].create(subject.config)
    found = []
    for seed in (0, 1):
        with seeded(seed):
            before = generator_states()["PyTorch"]
            found.append(_decoded(decoding, [0, 1, 2, 3]))
            drew = bool((generator_states()["PyTorch"] != before).any())
    if drew or found[0] != found[1]:
        raise Violation("it draws from PyTorch's global generator." if drew else "what it gives depends on that state.")


@holds(about="component", groups=("decoding",), usually="<eos> kept among the tokens, or a limit that counts one more.")
def decoding_keeps_its_limits(subject: Component) -> None:
    """No row has more tokens than its limit, nor <eos> among them, and one that did not end by it is at the limit."""
    decoding: Any = GROUPS["decoding"].create(subject.config)
    limits = [1, 3, 9, 6]
    for limit, each in zip(limits, _decoded(decoding, [0, 1, 2, 3], limits), strict=True):
        tokens, finished = each
        if EOS in tokens or len(tokens) > limit or (not finished and len(tokens) != limit):
            raise Violation(f"with a limit of {limit} a row becomes {tokens}, {'finished' if finished else 'cut'}.")


class _Rows:
    """Scores that are a function of a row's number and the tokens so far."""

    def __init__(self, rows: list[int]) -> None:
        self.keys = [(row,) for row in rows]
        self.logits_BV = self._scores()

    def step(self, tokens_BT: Tensor) -> Tensor:
        self.keys = [(*key, *tokens) for key, tokens in zip(self.keys, tokens_BT.tolist(), strict=True)]
        self.logits_BV = self._scores()
        return self.logits_BV

    def select(self, rows: Tensor) -> None:
        self.keys = [self.keys[row] for row in rows.tolist()]

    reorder = select

    def _scores(self) -> Tensor:
        generators = (torch.Generator().manual_seed(hash(key) % 2**31) for key in self.keys)
        return torch.stack([torch.randn(11, generator=each, dtype=torch.float64) for each in generators])


EOS = 2


def _decoded(decoding: Any, rows: list[int], limits: list[int] | None = None) -> list[tuple[list[int], bool]]:
    limits = [8] * len(rows) if limits is None else limits
    seeds = [100 + row for row in rows]
    found = decoding.generate(_Rows(rows), max_new_tokens=limits, eos_id=EOS, seeds=seeds)
    return [(each.tokens, each.finished) for each in found]


def _trained_on(subject: Component, **parts: Any) -> tuple[Any, Any, list[Any]]:
    """The task, a small model with its head in float64, and batches of a few texts."""
    task: Any = GROUPS["task"].create(subject.config)
    if task.texts_per_example != 1:
        raise NotApplicable("it is about pairs of texts")
    splits = Splits(TEXTS, TEXTS[:6], [])
    trained = GROUPS["tokenizer"].create({"name": "byte"})
    trained.special_tokens = (*trained.special_tokens, *task.special_tokens)
    tokenizers = Tokenizers.of([trained.train(TEXTS)])
    with tempfile.TemporaryDirectory() as cache:
        corpus = task.prepare(splits, tokenizers, Path(cache))
        found = task.eval_batches(corpus, "validation", max_seq_len=16, batch=BatchSize(sequences=2))
        batches = [each for _, each in zip(range(2), found, strict=False)]
    if not all(isinstance(batch, Batch) for batch in batches):
        raise NotApplicable("its batches are of a kind of its own")
    for topology in ("decoder", "encoder"):
        chosen = {"model": sized({"name": topology}, vocab_size=None), **BASELINE, **parts}
        try:
            model = build_model(
                chosen, vocab_size=tokenizers.target.vocab_size, num_classes=task.num_classes(splits), head=task.head
            )
        except ConfigError:
            continue
        return task, model.double().eval(), batches
    raise NotApplicable("no small model takes its head")


def _row(batch: Batch, row: int) -> Batch:
    one = slice(row, row + 1)
    return batch._map(lambda tensor: tensor[one] if len(tensor) > 1 else tensor)


def _loss(task: Any, model: Any, batch: Any) -> Any:
    with seeded(0), torch.no_grad():
        return task.loss(model, batch)
