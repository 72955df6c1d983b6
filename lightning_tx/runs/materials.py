"""What a run is made from: its data, and the tokenizers trained on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from json import dumps, loads
from pathlib import Path
from typing import Any, TypedDict

from lightning_tx.core import registry
from lightning_tx.data.base import Splits
from lightning_tx.task.base import Task
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


def materials(config: Mapping[str, Any]) -> Materials:
    """Read the data and train or load the tokenizers of a checked config; the same ones are made once a process.

    Raises:
        ConfigError: the data cannot be read or split.
    """
    parts = {key: config[key] for key in ("data", "tokenizer", "task")}
    return _materials(dumps(parts, sort_keys=True), cache_folder(config))


@cache
def _materials(parts_json: str, folder: Path) -> Materials:
    parts = loads(parts_json)
    splits = _splits(dumps(parts["data"], sort_keys=True), folder)
    task: Task = registry.create("task", parts["task"])
    tokenizers = (
        train_cached(parts["tokenizer"], texts, folder, task.special_tokens) for texts in task.tokenizer_texts(splits)
    )
    return Materials(splits, tuple(tokenizers))


def forget() -> None:
    """Let the next call of :func:`materials` read everything again."""
    _materials.cache_clear()
    _splits.cache_clear()


@cache
def _splits(data_json: str, folder: Path) -> Splits[Any]:
    return registry.create("data", loads(data_json)).load(folder)


def cache_folder(config: Mapping[str, Any]) -> Path:
    """Where prepared data is kept between runs."""
    return Path(config["root"]) / "cache"
