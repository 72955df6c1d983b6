"""Data, tokenizers, tasks and decoding: what a run reads, is asked for, and writes."""

import pickle
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import options_of
from lightning_tx.data.base import Splits
from lightning_tx.data.batch import IGNORE, Batch, BatchSize
from lightning_tx.groups import GROUPS
from lightning_tx.model.build import build_model
from lightning_tx.testing.baseline import BASELINE, sized
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Component
from lightning_tx.testing.values import generator_states, seeded
from lightning_tx.tokenizer.sides import Tokenizers

TEXTS = [
    "One sentence, and a number: 42.",
    "Zwei Sätze – mit “Zeichen”.",
    "a  b   c",
    "line\nline\n\n\tindented",
    " space before and after ",
    "an emoji 🙂, an accent e\u0301, a zero \u200b width",
    "x",
] * 4


@holds(
    about="component",
    groups=("tokenizer",),
    usually="a decoder that does not undo the pre-tokenizer, or a normaliser that joins white space.",
)
def texts_come_back(subject: Component) -> None:
    """Texts that it was trained on come back from their ids, with every space, tab and newline; ids are in range."""
    tokenizer = _trained(subject, TEXTS)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        if tokenizer.decode(ids) != text:
            raise Violation(f"{text!r} comes back as {tokenizer.decode(ids)!r}.")
        if not all(0 <= each < tokenizer.vocab_size for each in ids):
            raise Violation(f"{text!r} has ids outside of 0 to {tokenizer.vocab_size - 1}.")
    special = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id}
    if len(special) < 4:
        raise Violation("two special tokens share an id.")


@holds(
    about="component",
    groups=("tokenizer",),
    usually="a set or a dict in an order of its own, or ties broken by chance.",
)
def training_a_tokenizer_is_repeatable(subject: Component) -> None:
    """The same texts give the same tokenizer, and one that was saved and loaded is the same too."""
    first, second = (_trained(subject, TEXTS) for _ in range(2))
    if first.digest != second.digest:
        raise Violation("trained twice on the same texts, it is another tokenizer.")
    loaded = pickle.loads(pickle.dumps(first))
    for text in TEXTS:
        if loaded.encode(text) != first.encode(text) or first.encode_batch([text])[0] != first.encode(text):
            raise Violation(f"{text!r} has other ids after saving and loading, or in a batch.")


@holds(about="component", groups=("tokenizer",), usually="special tokens that are matched in plain text.")
def special_tokens_are_not_text(subject: Component) -> None:
    """Text that reads like a special token is encoded as the characters that it consists of."""
    tokenizer = _trained(subject, [*TEXTS, "a <eos> b <pad>"])
    for special in (tokenizer.eos_id, tokenizer.pad_id, tokenizer.bos_id):
        if special in tokenizer.encode("a <eos> b <pad> <bos>"):
            raise Violation(f"the text '<eos>', '<pad>' or '<bos>' becomes the special token {special}.")


@holds(
    dear=True,
    about="component",
    groups=("data",),
    usually="a shuffle with the global generator: give it a seed of its own.",
)
def splits_stay(subject: Component) -> None:
    """Loaded twice, the data are the same, in the same order and the same splits."""
    first, second = _splits(subject, 0), _splits(subject, 1)
    for name in ("train", "validation", "test"):
        if first.digests[name] != second.digests[name]:
            raise Violation(f"the split {name} is another when the data are loaded again.")


@holds(about="component", groups=("data",), usually="a split of a list with repeated texts, or slices that overlap.")
def splits_do_not_overlap(subject: Component) -> None:
    """No document that is trained on is validated or tested on, and there is something to train and to validate on."""
    splits = _splits(subject, 0)
    train = set(splits.train)
    if not train or not len(splits.validation):
        raise Violation(f"{len(train)} documents to train on and {len(splits.validation)} to validate on.")
    for name in ("validation", "test"):
        shared = [each for each in getattr(splits, name) if each in train]
        if shared:
            raise Violation(f"{len(shared)} documents of the split {name} are trained on, as {str(shared[0])[:60]!r}.")


@holds(
    about="component", groups=("data",), usually="an open file or a lambda on the splits, which worker processes need."
)
def splits_can_be_sent(subject: Component) -> None:
    """The splits can be pickled, so that processes that load batches have them too."""
    splits = _splits(subject, 0)
    again = pickle.loads(pickle.dumps(splits))
    if list(again.validation) != list(splits.validation):
        raise Violation("pickled and loaded, the documents to validate on are others.")


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


def _trained(subject: Component, texts: list[str]) -> Any:
    """The tokenizer; one that is another run's is not trained here."""
    try:
        return GROUPS["tokenizer"].create(subject.config).train(list(texts))
    except ConfigError as error:
        raise NotApplicable(f"it cannot be trained by itself: {error}") from error


@lru_cache(maxsize=2)
def _splits(subject: Component, seed: int) -> Splits[Any]:
    """The splits, loaded once for a subject and a seed of the global generators."""
    if any(option.required for option in options_of(subject.component)) or set(subject.config) - {"name"}:
        raise NotApplicable("it reads what its options point at, which may be far away")
    data: Any = GROUPS["data"].create(subject.config)
    with seeded(seed), tempfile.TemporaryDirectory() as cache:
        try:
            return data.load(Path(cache))
        except ConfigError as error:
            raise NotApplicable(f"what it reads is not here: {error}") from error


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
