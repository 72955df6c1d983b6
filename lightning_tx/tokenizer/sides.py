"""The tokenizers of a run: that of what a model reads, and that of what it writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from lightning_tx.tokenizer.base import Tokenizer


@dataclass(frozen=True)
class Tokenizers:
    """What a model reads by and what it writes by; one and the same where there is one vocabulary.

    Attributes:
        source: of what the model reads.
        target: of what the model writes.
    """

    source: Tokenizer
    target: Tokenizer

    @classmethod
    def of(cls, trained: Sequence[Tokenizer]) -> Self:
        """One tokenizer for everything, or that of the source and that of the target."""
        return cls(trained[0], trained[-1])

    @property
    def is_one(self) -> bool:
        """Whether one tokenizer serves both sides."""
        return self.source is self.target

    @property
    def digest(self) -> str:
        """The digests of all tokenizers, the source's first."""
        return self.target.digest if self.is_one else f"{self.source.digest}-{self.target.digest}"
