"""Data sets: the same documents every time, in splits that have nothing in common."""

import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import options_of
from lightning_tx.data.base import DATA, Data, Splits
from lightning_tx.testing.component import Component
from lightning_tx.testing.elsewhere import digests_elsewhere
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation

NAMES = ("train", "validation", "test")


@holds(
    dear=True,
    about="component",
    groups=("data",),
    usually="a shuffle without a seed of its own, or documents in the order of a set: sort them.",
    kin="documents that move",
)
def splits_stay(subject: Component) -> None:
    """Another process that loads the same has the same documents, in the same splits and in the same order."""
    with _configured(subject) as config:
        options = {name: value for name, value in config.items() if name != "name"}
        with digests_elsewhere(subject.component, options) as answer:
            own = _loaded(subject).digests
            theirs = answer()
    for name, digest in own.items():
        if theirs[name] != digest:
            raise Violation(f"the split {name} is another when another process loads it.")


@holds(
    about="component",
    groups=("data",),
    usually="what is put into the cache is not what is returned, or comes out of it in another order.",
    kin="documents that move",
)
def a_cache_changes_nothing(subject: Component) -> None:
    """Loaded a second time, from what the first time left in the cache, the splits are the same."""
    loaded = _loaded(subject)
    for name, digest in loaded.again.items():
        if digest != loaded.digests[name]:
            raise Violation(f"the split {name} is another when it is loaded again with the same cache.")


@holds(about="component", groups=("data",), usually="a split of a list with repeated texts, or slices that overlap.")
def splits_do_not_overlap(subject: Component) -> None:
    """No document is in two splits, and there is something to train and to validate on."""
    splits = _loaded(subject).splits
    if not len(splits.train) or not len(splits.validation):
        raise Violation(f"{len(splits.train)} documents to train on and {len(splits.validation)} to validate on.")
    documents = {name: set(getattr(splits, name)) for name in NAMES}
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = sorted(documents[first] & documents[second])
        if shared:
            raise Violation(
                f"{len(shared)} documents are in the splits {first} and {second}, as {str(shared[0])[:60]!r}."
            )


@holds(about="component", groups=("data",), usually="texts_per_example, or examples that are lists or dicts.")
def documents_are_texts(subject: Component) -> None:
    """A document is one text, or a pair of texts where the class says so, and can be encoded as UTF-8."""
    wanted: int = subject.component.texts_per_example  # type: ignore[attr-defined]
    for name in NAMES:
        for number, document in enumerate(getattr(_loaded(subject).splits, name)):
            texts = (document,) if isinstance(document, str) else document
            if not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
                raise Violation(
                    f"document {number} of the split {name} is {type(document).__name__}: {document!r:.60}."
                )
            if len(texts) != wanted:
                raise Violation(f"document {number} of {name} has {len(texts)} texts; texts_per_example is {wanted}.")
            "".join(texts).encode()


@holds(about="component", groups=("data",), usually="an open file or a lambda on what worker processes need.")
def splits_can_be_sent(subject: Component) -> None:
    """The data set and its splits can be pickled, so that other processes have them too."""
    with _configured(subject) as config:
        pickle.loads(pickle.dumps(DATA.create(config)))
    loaded = _loaded(subject)
    if isinstance(loaded.sent, Exception):
        raise loaded.sent
    for name in NAMES:
        if getattr(loaded.sent, name) != getattr(loaded.splits, name):
            raise Violation(f"pickled and loaded, the documents of the split {name} are others.")


@holds(
    about="component",
    groups=("data",),
    usually="a digest of the names or the number of documents, or a cache that outlives the files it was made from.",
)
def the_digest_is_the_contents(subject: Component) -> None:
    """The digest is another where a document is, or where the order is; files that were changed are read again."""
    splits = _loaded(subject).splits
    documents = splits.train
    first = documents[0]
    other = first + "." if isinstance(first, str) else (first[0] + ".", *first[1:])
    changes: dict[str, Sequence[Any]] = {
        "a changed document": [other, *documents[1:]],
        "one document less": documents[1:],
    }
    if len(set(documents)) > 1:
        changes["another order"] = documents[::-1]
    for what, train in changes.items():
        if replace(splits, train=train).digest == splits.digest:
            raise Violation(f"with {what} to train on, the digest is the same.")
    if replace(splits, train=documents).digest != splits.digest:
        raise Violation("with the same documents in another list, the digest is another.")
    component: Any = subject.component
    with tempfile.TemporaryDirectory() as root:
        folder, cache = Path(root, "files"), Path(root, "cache")
        folder.mkdir()
        if component.example(folder, 0) is None:
            return
        digests = [
            _load(subject, {**subject.config, **component.example(folder, edition)}, cache).digest
            for edition in (0, 1, 0)
        ]
    if digests[1] == digests[0]:
        raise Violation("after a file was changed, the same documents are loaded.")
    if digests[2] != digests[0]:
        raise Violation("after a file was changed and changed back, other documents are loaded.")


@contextmanager
def _configured(subject: Component) -> Iterator[dict[str, Any]]:
    """A config that can be loaded here: its own, or one that points at an example of the files that are read."""
    component: Any = subject.component
    with tempfile.TemporaryDirectory() as folder:
        example = component.example(Path(folder), 0)
        if example is None and any(option.required for option in options_of(component)):
            raise NotApplicable("it reads what its options point at, and has no example of that")
        yield {**subject.config, **(example or {})}


def _load(subject: Component, config: dict[str, Any], cache: Path) -> Splits[Any]:
    data: Data[Any] = DATA.create(config)
    problems = data.problems()
    if problems:
        raise NotApplicable(f"what it needs is not here: {problems[0]}")
    try:
        return data.load(cache)
    except ConfigError as error:
        if any(option.required for option in options_of(subject.component)):
            raise
        raise NotApplicable(f"what it reads is not here: {error}") from error


@dataclass(frozen=True)
class _Loaded:
    """What there is to know of splits while the files that they may read from are there.

    Attributes:
        splits: with every document in a list.
        digests: as the splits gave them.
        again: those of the splits loaded once more, with what is in the cache now.
        sent: the documents after the splits were pickled and loaded, or why they could not be.
    """

    splits: Splits[Any]
    digests: Mapping[str, str]
    again: Mapping[str, str]
    sent: Splits[Any] | Exception


@lru_cache(maxsize=1)
def _loaded(subject: Component) -> _Loaded:
    """The splits, loaded once for a subject."""
    with _configured(subject) as config, tempfile.TemporaryDirectory() as cache:
        splits = _load(subject, config, Path(cache))
        try:
            sent: Splits[Any] | Exception = _in_lists(pickle.loads(pickle.dumps(splits)))
        except Exception as error:  # whatever it raises is what the property says
            sent = error
        return _Loaded(_in_lists(splits), splits.digests, _load(subject, config, Path(cache)).digests, sent)


def _in_lists(splits: Splits[Any]) -> Splits[Any]:
    return replace(splits, **{name: list(getattr(splits, name)) for name in NAMES})
