"""What every source of sentences and their translations has in common: cleaning, filters, and what is left out."""

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar, TypedDict, Unpack

from pydantic import Field

from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.errors import ConfigError
from lightning_tx.data.base import Data, Splits
from lightning_tx.data.cleaning import Cleaning, Normalization

_logger = logging.getLogger(__name__)

Pair = tuple[str, str]

#: The options behind each reason to leave a training pair out, in the order in which they are asked.
_FILTERS = {
    "empty": "empty on a side after cleaning",
    "too_short": "below min_words {min_words}",
    "too_long": "above max_words {max_words}",
    "ratio": "above max_ratio {max_ratio}",
}


@dataclass(frozen=True)
class PairFilter:
    """Which training pairs are kept.

    A word is what stands between white space. ``subset`` takes the first pairs that pass the filters: reading can
    stop there, anyone can repeat it, and a larger subset holds every smaller one, as a study of loss against data size
    needs. Where a corpus is ordered by its sources, a small subset has the first sources only.

    Attributes:
        min_words: fewest words that either side may have.
        max_words: most words that either side may have; None for no limit.
        max_ratio: most words of the longer side for each word of the shorter; None for no limit.
        subset: how many of the pairs that pass are kept; None for all.
    """

    min_words: int = 1
    max_words: int | None = None
    max_ratio: float | None = None
    subset: int | None = None

    def problems(self) -> list[str]:
        """Options that no pair can meet together."""
        if self.max_words is not None and self.min_words > self.max_words:
            return [f"data.min_words: {self.min_words} is more than data.max_words {self.max_words}."]
        return []

    def reason(self, pair: Pair) -> str | None:
        """Why a cleaned pair is left out; None if it is kept."""
        source, target = pair
        if not source or not target:
            return "empty"
        # Cleaned text has a single blank between words.
        counts = source.count(" ") + 1, target.count(" ") + 1
        fewest, most = min(counts), max(counts)
        if fewest < self.min_words:
            return "too_short"
        if self.max_words is not None and most > self.max_words:
            return "too_long"
        if self.max_ratio is not None and most > self.max_ratio * fewest:
            return "ratio"
        return None

    def explain(self, dropped: Counter[str]) -> str:
        """What each filter took, as a sentence's part."""
        parts = [f"{dropped[name]} {text}" for name, text in _FILTERS.items() if dropped[name]]
        return ", ".join(parts).format(min_words=self.min_words, max_words=self.max_words, max_ratio=self.max_ratio)


@dataclass(frozen=True)
class PairSource:
    """The pairs of one split before they are cleaned.

    Attributes:
        count: how many there are.
        pairs: (source, target) of each; read once, and not further than needed.
        where: what they are read from, as it is named in a message.
    """

    count: int
    pairs: Iterable[Pair]
    where: str


_Count = Annotated[int, Field(ge=1)]
_Ratio = Annotated[float, Field(ge=1)]


class ParallelTextOptions(TypedDict, total=False):
    """How pairs are cleaned, and which training pairs are kept.

    Args:
        normalize: Unicode normalization form.
        strip_html: take out tags and replace entities by what they stand for.
        strip_urls: take out web addresses.
        core_characters: keep only letters, digits and core punctuation.
        lowercase: make capitals small letters.
        min_words: fewest words on either side of a training pair.
        max_words: most words on either side of a training pair; None for no limit.
        max_ratio: most words of a training pair's longer side for each word of the shorter; None for no limit.
        subset: keep the first so many training pairs that pass the filters; None for all.
    """

    normalize: Annotated[Normalization, Field(default="NFC")]
    strip_html: Annotated[bool, Field(default=False)]
    strip_urls: Annotated[bool, Field(default=False)]
    core_characters: Annotated[bool, Field(default=False)]
    lowercase: Annotated[bool, Field(default=False)]
    min_words: Annotated[_Count, Field(default=1)]
    max_words: Annotated[_Count | None, Field(default=None)]
    max_ratio: Annotated[_Ratio | None, Field(default=None)]
    subset: Annotated[_Count | None, Field(default=None)]


class ParallelText(Data[Pair]):
    """Base of data whose examples are (source sentence, target sentence).

    All three splits are cleaned. The filters and ``subset`` touch the training split alone: a score is over all
    sentences of its split. Only pairs that are empty on a side after cleaning are left out everywhere, since there is
    nothing to translate. What is left out is counted in ``Splits.skipped`` as ``train_empty``, ``train_too_short``,
    ``train_too_long``, ``train_ratio``, ``train_beyond_subset`` (not looked at once the subset was full),
    ``validation_empty`` and ``test_empty``; a reason that met no pair has no entry.

    Attributes:
        cleaning: applied to both sides.
        pair_filter: which training pairs are kept.
    """

    texts_per_example: ClassVar[int] = 2

    def __init__(self, **options: Unpack[ParallelTextOptions]) -> None:
        chosen = with_defaults(ParallelTextOptions, options)
        self.cleaning = Cleaning(**{field.name: chosen[field.name] for field in fields(Cleaning)})
        self.pair_filter = PairFilter(**{field.name: chosen[field.name] for field in fields(PairFilter)})

    @abstractmethod
    def sources(self, cache: Path) -> dict[str, PairSource]:
        """The splits ``train`` and ``validation``, and ``test`` if it is asked for.

        Raises:
            ConfigError: they cannot be read.
        """

    def problems(self) -> list[str]:
        return self.pair_filter.problems()

    def clean(self, text: str) -> str:
        """The cleaned sentence; empty if nothing of it is left."""
        return self.cleaning(text)

    def load(self, cache: Path) -> Splits[Pair]:
        """Read and clean all pairs, and filter those for training.

        Raises:
            ConfigError: with what ``problems`` finds, when the data cannot be read, or when a split has no pair left.
        """
        problems = self.pair_filter.problems()
        if problems:
            raise ConfigError(problems)
        sources = self.sources(cache)
        skipped: dict[str, int] = {}
        train = self._train(sources["train"], skipped)
        validation = self._evaluation("validation", sources["validation"], skipped)
        test = self._evaluation("test", sources["test"], skipped) if "test" in sources else []
        if skipped:
            counts = ", ".join(f"{name} {count}" for name, count in skipped.items())
            _logger.info("Pairs left out: %s; kept for training: %d.", counts, len(train))
        return Splits(train, validation, test, skipped)

    def _train(self, source: PairSource, skipped: dict[str, int]) -> list[Pair]:
        kept: list[Pair] = []
        dropped: Counter[str] = Counter()
        for pair in self._cleaned(source):
            reason = self.pair_filter.reason(pair)
            if reason is None:
                kept.append(pair)
                if len(kept) == self.pair_filter.subset:
                    break
            else:
                dropped[reason] += 1
        if not kept:
            raise ConfigError(_nothing_left("train", source, self.pair_filter.explain(dropped)))
        dropped["beyond_subset"] = source.count - len(kept) - dropped.total()
        skipped.update({f"train_{name}": dropped[name] for name in (*_FILTERS, "beyond_subset") if dropped[name]})
        return kept

    def _evaluation(self, name: str, source: PairSource, skipped: dict[str, int]) -> list[Pair]:
        kept = [pair for pair in self._cleaned(source) if pair[0] and pair[1]]
        empty = source.count - len(kept)
        if not kept:
            raise ConfigError(_nothing_left(name, source, self.pair_filter.explain(Counter(empty=empty))))
        if empty:
            skipped[f"{name}_empty"] = empty
        return kept

    def _cleaned(self, source: PairSource) -> Iterable[Pair]:
        clean = self.cleaning
        return ((clean(first), clean(second)) for first, second in source.pairs)


def examples(edition: int) -> dict[str, list[Pair]]:
    """A few pairs for each split, as :meth:`Data.example` writes them; only the training pairs go by the edition."""
    firsts = {"train": 1000 * (edition + 1), "validation": 100, "test": 200}
    return {
        split: [
            (f"Nummer {n} folgt auf Nummer {n - 1}.", f"Number {n} follows after number {n - 1}.")
            for n in range(first, first + 40)
        ]
        for split, first in firsts.items()
    }


def _nothing_left(name: str, source: PairSource, took: str) -> str:
    if source.count == 0:
        return f"data.{name}: {source.where} holds no pairs."
    return f"data.{name}: none of the {source.count} pairs of {source.where} is left: {took}."
