"""What a run is made from: its data, and the tokenizers trained on them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from lightning_tx.core.group import Choice
from lightning_tx.data.base import Data, Splits
from lightning_tx.runs.config import RunConfig
from lightning_tx.tokenizer.base import Tokenizer
from lightning_tx.tokenizer.cached import train_cached


class VocabSizes(TypedDict):
    """The sizes of vocabularies, as :func:`build_model` takes them."""

    vocab_size: int
    source_vocab_size: int


def vocab_sizes_of(tokenizers: tuple[Tokenizer, ...]) -> VocabSizes:
    """The sizes of the vocabularies of one tokenizer, or of those for source and target."""
    return {"vocab_size": tokenizers[-1].vocab_size, "source_vocab_size": tokenizers[0].vocab_size}


@dataclass(frozen=True)
class Materials:
    """What a run reads: documents, and what was trained on their training split.

    Attributes:
        splits: the data.
        tokenizers: one, or one for the source and one for the target.
    """

    splits: Splits[Any]
    tokenizers: tuple[Tokenizer, ...]

    @property
    def tokenizer(self) -> Tokenizer:
        """That of what the model writes."""
        return self.tokenizers[-1]

    @property
    def vocab_sizes(self) -> VocabSizes:
        """What a model is built with."""
        return vocab_sizes_of(self.tokenizers)

    @property
    def tokenizer_digest(self) -> str:
        """The digests of all tokenizers."""
        return digest_of_tokenizers(self.tokenizers)


def digest_of_tokenizers(tokenizers: tuple[Tokenizer, ...]) -> str:
    """The digests of all tokenizers, in their order."""
    return "-".join(tokenizer.digest for tokenizer in tokenizers)


def materials(config: RunConfig) -> Materials:
    """Read the data and train or load the tokenizers of a run; the same ones are made once a process.

    Raises:
        ConfigError: the data cannot be read or split.
    """
    chosen = [choice.essential() for choice in (config.data, config.tokenizer, config.task)]
    folder = cache_folder(config.root)
    key = json.dumps([*chosen, str(folder)], sort_keys=True)
    if key not in _materials:
        splits, task = _splits_of(config.data, folder), config.task.create()
        _materials[key] = Materials(
            splits,
            tuple(
                train_cached(config.tokenizer, texts, folder, task.special_tokens)
                for texts in task.tokenizer_texts(splits)
            ),
        )
    return _materials[key]


def forget() -> None:
    """Let the next call of :func:`materials` read everything again."""
    _materials.clear()
    _splits.clear()


def cache_folder(root: Path) -> Path:
    """Where prepared data is kept between the runs below a folder."""
    return root / "cache"


_materials: dict[str, Materials] = {}
_splits: dict[str, Splits[Any]] = {}


def _splits_of(data: Choice[Data[Any]], folder: Path) -> Splits[Any]:
    key = json.dumps([data.essential(), str(folder)], sort_keys=True)
    if key not in _splits:
        _splits[key] = data.create().load(folder)
    return _splits[key]
