"""Numbers spelled out in two languages: a translation task with real word order that needs no download."""

import copy
import json
import logging
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.data.base import DATA, Data, Splits
from lightning_tx.data.split import by_content, fraction_problems
from lightning_tx.data.storage import build_once, digest_of

_logger = logging.getLogger(__name__)

#: Raised when other numbers are drawn from the same options, or the file is laid out in another way.
_LAYOUT_VERSION = 1
#: Numbers below this are always trained on.
_LEXICON = 100
#: More pairs than this are not spelled: it would take minutes and gigabytes.
_MOST_NUMBERS = 2_000_000
#: Odd 64-bit constants, for the order in which numbers are drawn.
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@DATA.register("number_words")
class NumberWords(Data[tuple[str, str]]):
    """Whole numbers in words, from one language to another: "twenty-one" to "einundzwanzig".

    Source: the library num2words, https://github.com/savoirfairelinux/num2words

    Which numbers: ``size`` of those from 0 to ``largest``, drawn so that each count of digits has an equal share, or
    all its numbers where it has fewer than that. For 30,000 below a million these are all numbers to 9,999 and 10,000
    each with five and six digits, so that short numbers are learnt from the examples and long ones are composed of
    what was learnt. Within a count of digits the draw is a fixed pseudo-random order: there is no seed, and a larger
    ``size`` only adds numbers.

    Which split: the hash of the number decides, whatever the languages and the size are, so no number is in two
    splits and none moves between them. Numbers below 100 are always trained on; they are the words that the others
    are made of. The order within a split is pseudo-random as well: the first part of it is a fair sample.

    Of numbers that the source language spells alike, the one drawn first is kept. Runs of white space are one space.

    Args:
        source: language to translate from, as num2words names it.
        target: language to translate to.
        largest: the largest number.
        size: how many numbers are drawn, over all splits; null for all of them.
        validation_fraction: share of the numbers that is validated on.
        test_fraction: share of the numbers that is kept for the test.
    """

    texts_per_example = 2

    def __init__(
        self,
        *,
        source: str = "en",
        target: str = "de",
        largest: Annotated[int, Field(ge=_LEXICON, lt=10**18)] = 999_999,
        size: Annotated[int, Field(gt=0)] | None = 30_000,
        validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.03,
        test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.03,
    ) -> None:
        self.source = source
        self.target = target
        self.largest = largest
        self.size = size
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction

    def problems(self) -> list[str]:
        """Languages that are unknown or cannot spell some numbers, more numbers than there are or can be had."""
        problems = fraction_problems(self.validation_fraction, self.test_fraction)
        problems += self._size_problems()
        for key, language in (("source", self.source), ("target", self.target)):
            try:
                spell = speller(key, language, self.largest)
                for number in _probes(self.largest):
                    spell(number)
            except ConfigError as error:
                problems += error.problems
        return problems

    def load(self, cache: Path) -> Splits[tuple[str, str]]:
        """Spell the numbers, which takes a second or two and is done once for each choice of options.

        Raises:
            ConfigError: with what ``problems`` finds, when a language cannot spell one of the numbers, or when there
                are too few numbers for the splits.
        """
        problems = self.problems()
        if problems:
            raise ConfigError(problems)
        key = digest_of(
            [_LAYOUT_VERSION, version("num2words"), self.source, self.target, self.largest, self._num_drawn]
        )
        spelled = cache / "number_words" / f"{key}.json"
        build_once(spelled, self._write)
        entries = json.loads(spelled.read_text(encoding="utf-8"))
        pairs: dict[str, tuple[str, str]] = {}
        seen: set[str] = set()
        for number, source, target in entries:
            if source not in seen:
                seen.add(source)
                pairs[number] = (source, target)
        skipped = {"spelled_alike": len(entries) - len(pairs)} if len(entries) > len(pairs) else {}
        if skipped:
            _logger.warning(
                "number_words leaves out %d numbers that %r spells like others", *skipped.values(), self.source
            )
        lexicon = [number for number in pairs if int(number) < _LEXICON]
        others = by_content(
            [number for number in pairs if int(number) >= _LEXICON], self.validation_fraction, self.test_fraction
        )
        if not others.validation or (self.test_fraction > 0 and not others.test):
            raise ConfigError(
                f"data.size: {len(pairs)} numbers are too few to split with validation_fraction "
                f"{self.validation_fraction} and test_fraction {self.test_fraction}; those below {_LEXICON} are for "
                f"training."
            )
        train, validation, test = (
            [pairs[number] for number in numbers]
            for numbers in ([*lexicon, *others.train], others.validation, others.test)
        )
        return Splits(train, validation, test, skipped)

    @property
    def _num_drawn(self) -> int:
        return self.largest + 1 if self.size is None else self.size

    def _size_problems(self) -> list[str]:
        if self._num_drawn > self.largest + 1:
            return [
                f"data.size: {self.size} numbers cannot be drawn from 0 to data.largest {self.largest}, which are "
                f"{self.largest + 1}; null takes all of them."
            ]
        if self._num_drawn > _MOST_NUMBERS:
            return [f"data.size: {self._num_drawn} numbers are too many to spell; the most is {_MOST_NUMBERS}."]
        return []

    def _write(self, path: Path) -> None:
        source = speller("source", self.source, self.largest)
        target = speller("target", self.target, self.largest)
        numbers = draw(self.largest, self._num_drawn).tolist()
        entries = [(str(number), source(number), target(number)) for number in numbers]
        path.write_text(json.dumps(entries), encoding="utf-8")


def draw(largest: int, count: int) -> np.ndarray:
    """``count`` different numbers from 0 to ``largest``, each count of digits with an equal share if it has as many.

    Returns:
        int64 [count], in a pseudo-random order that is always the same.
    """
    lows = [0, *(10**digits for digits in range(1, len(str(largest))))]
    widths = [high - low for low, high in zip(lows, [*lows[1:], largest + 1], strict=True)]
    drawn = []
    # From the smallest class on, so that what it does not have is shared out among those that are left.
    by_width = sorted(zip(widths, lows, strict=True))
    for place, (width, low) in enumerate(by_width):
        share = -(-count // (len(by_width) - place))
        taken = min(share, width)
        drawn.append(low + _pseudo_random(width, taken))
        count -= taken
    numbers = np.concatenate(drawn)
    return numbers[np.argsort(_mixed(numbers, bits=60), kind="stable")]


def _pseudo_random(width: int, count: int) -> np.ndarray:
    """The first ``count`` of the numbers below ``width`` in a fixed pseudo-random order, int64."""
    # A permutation of all numbers with so many bits, from which those that are not below the width are left out.
    bits = max((width - 1).bit_length(), 1)
    tried = min(2 * count + 64, 1 << bits)
    while True:
        found = _mixed(np.arange(tried), bits)
        found = found[found < width][:count]
        if len(found) == count:
            return found
        tried = min(2 * tried, 1 << bits)


def _mixed(numbers: np.ndarray, bits: int) -> np.ndarray:
    """A permutation of the numbers below ``2**bits``, int64: each step of it can be undone."""
    mask = np.uint64((1 << bits) - 1)
    shift = np.uint64(max(bits // 2, 1))
    mixed = numbers.astype(np.uint64)
    for multiplier in _MULTIPLIERS:
        mixed = ((mixed + np.uint64(1)) * np.uint64(multiplier)) & mask
        mixed ^= mixed >> shift
    return mixed.astype(np.int64)


def _probes(largest: int) -> list[int]:
    """A few numbers of every size: 0, 1, 10, 11, 100, 110, …, and the largest."""
    powers = [10**digits for digits in range(len(str(largest)))]
    return sorted({0, *powers, *(11 * power // 10 for power in powers if 11 * power // 10 <= largest), largest})


def speller(key: str, language: str, largest: int) -> Callable[[int], str]:
    """The function that spells numbers up to ``largest`` in a language.

    Args:
        key: the option that names the language.
        language: one of num2words' languages.
        largest: the largest number that will be asked for.

    Raises:
        ConfigError: there is no such language. The function raises it for a number that the language cannot spell.
    """
    from num2words import CONVERTER_CLASSES

    if language not in CONVERTER_CLASSES:
        raise ConfigError(
            f"data.{key}: num2words does not spell {language!r}.{nearest(language, CONVERTER_CLASSES)} "
            f"Choices: {choices(CONVERTER_CLASSES)}."
        )
    converter = copy.copy(CONVERTER_CLASSES[language])
    if "cards" in vars(converter):
        # Most languages look for the next smaller of their named numbers from 10**600 down, each time.
        converter.cards = {number: word for number, word in converter.cards.items() if number <= largest}
    return partial(_spell, key, language, converter.to_cardinal)


def _spell(key: str, language: str, to_words: Callable[[int], str], number: int) -> str:
    try:
        words = to_words(number)
    except Exception as error:  # converters raise whatever their tables and indices do
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        raise ConfigError(f"data.{key}: num2words cannot spell {number} in {language!r} ({reason}).") from error
    return " ".join(words.split())
