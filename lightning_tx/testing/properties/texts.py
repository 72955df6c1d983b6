"""Data and tokenizers: what a run reads."""

import pickle
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import options_of
from lightning_tx.data.base import Splits
from lightning_tx.groups import GROUPS
from lightning_tx.testing.component import Component
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.values import seeded

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
