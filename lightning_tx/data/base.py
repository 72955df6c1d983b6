"""What a data set is to the rest of the package: documents in three splits, and a digest of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from lightning_tx.core.group import Group
from lightning_tx.data.storage import digest_of, digest_of_texts

#: One example: ``str`` where a document is one text, ``tuple[str, str]`` where it is a pair of texts.
Example = TypeVar("Example", str, tuple[str, str])


@dataclass(frozen=True)
class Splits(Generic[Example]):
    """The documents of a data set, in order.

    Attributes:
        train: to train on.
        validation: to select on.
        test: to look at once; may be empty.
        skipped: how many documents were left out, by reason, as ``{"too_long": 12}``; recorded with every run.
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    skipped: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal characters over every document's content, the order, and which split it is in."""
        return digest_of(self._content)

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """By the name of a split, 32 hexadecimal characters over its documents' content and their order."""
        return {name: digest_of(content) for name, content in self._content.items()}

    @cached_property
    def _content(self) -> Mapping[str, list[int | str]]:
        return {name: _digest_of_examples(getattr(self, name)) for name in ("train", "validation", "test")}


class Data(ABC, Generic[Example]):
    """Base of the group ``data``. The constructor takes options only and touches no file.

    Attributes:
        texts_per_example: 1 for single texts (``Splits[str]``), 2 for pairs such as a sentence and its translation
            (``Splits[tuple[str, str]]``).
    """

    texts_per_example: ClassVar[int] = 1

    def problems(self) -> list[str]:
        """What is wrong with what the options point at, one sentence each, found without loading the data.

        Called for every run of a sweep before the first one starts.
        """
        return []

    def place(self) -> Path | None:
        """The file or folder that the data are read from, for the record; None where there is none."""
        return None

    @classmethod
    def example(cls, folder: Path, edition: int) -> dict[str, Any] | None:
        """Write a small example of the files that are read, so that the conformance suite can look at what comes of it.

        Args:
            folder: to write to; it may hold what was written for another edition, whose files are replaced.
            edition: 0 or 1, of which some document to train on is another.

        Returns:
            The options that point at the example; None where no files are read, or those that are lie elsewhere.
        """
        return None

    def clean(self, text: str) -> str:
        """A text from elsewhere as the data would hold it, for a model that has seen no other; as it is by default."""
        return text

    @abstractmethod
    def load(self, cache: Path) -> Splits[Example]:
        """Read the documents.

        Args:
            cache: folder for what is worth keeping between runs; several processes may use it at once.

        Raises:
            ConfigError: with what ``problems`` finds, or when the documents cannot be split as asked.
        """


def _digest_of_examples(examples: Sequence[str] | Sequence[tuple[str, str]]) -> list[int | str]:
    # The number of texts an example has keeps a pair apart from two single texts.
    parts = [(example,) if isinstance(example, str) else example for example in examples]
    width = len(parts[0]) if parts else 0
    return [width, digest_of_texts(text for part in parts for text in part)]


DATA = Group("data", Data, __package__)
