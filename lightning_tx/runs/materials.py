"""What a run is made from: its data, and the tokenizers trained on them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_tx.core.group import Choice
from lightning_tx.data.base import Data, Splits
from lightning_tx.model.sizes import Sizes
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.recorded import sizes_of, tokenizers_of
from lightning_tx.runs.store import get_store
from lightning_tx.task.base import Task
from lightning_tx.tokenizer.base import TOKENIZER, TokenizerTrainer
from lightning_tx.tokenizer.cached import train_cached
from lightning_tx.tokenizer.sides import Tokenizers


@dataclass(frozen=True)
class Materials:
    """What a run reads: documents, and what was trained on their training split.

    Attributes:
        splits: the data.
        tokenizers: of what the model reads and of what it writes.
        num_classes: how many classes the examples are sorted into; None where they are not.
    """

    splits: Splits[Any]
    tokenizers: Tokenizers
    num_classes: int | None = None

    @property
    def sizes(self) -> Sizes:
        """What a model takes from them."""
        return sizes_of(self.tokenizers, self.num_classes)


def materials_of(config: RunConfig) -> Materials:
    """Read the data and train or load the tokenizers of a run; the same ones are made once, until :func:`forget`.

    A run that starts from another takes that one's tokenizers where it asks for the same kind, so that the rows of its
    weights mean what they did; they may have been trained on other text.

    Raises:
        ConfigError: the data cannot be read or split, or the run to start from has left no tokenizers.
    """
    chosen = [choice.essential() for choice in (config.data, config.tokenizer, config.task)]
    folder = cache_folder(config.root)
    base = config.init_from and config.init_from.run_id
    key = json.dumps([*chosen, str(folder), os.getcwd(), base], sort_keys=True)
    if key not in _materials:
        splits, task = _splits_of(config.data, folder), config.task.create()
        texts = task.tokenizer_texts(splits)
        tokenizers = _of_base(config, task, len(texts)) or Tokenizers.of(
            [train_cached(config.tokenizer, each, folder, task.special_tokens) for each in texts]
        )
        _materials[key] = Materials(splits, tokenizers, task.num_classes(splits))
    return _materials[key]


def _of_base(config: RunConfig, task: Task, number: int) -> Tokenizers | None:
    """The tokenizers of the run to start from, where they are of the kind, and as many as, this run asks for."""
    if config.init_from is None:
        return None
    store, run_id = get_store(config.raw), config.init_from.run_id
    if not is_of_kind(store.config(run_id)["tokenizer"], config.tokenizer):
        return None
    tokenizers = tokenizers_of(store, run_id)
    complete = all(
        side.knows(token) for side in (tokenizers.source, tokenizers.target) for token in task.special_tokens
    )
    return tokenizers if complete and number == (1 if tokenizers.is_one else 2) else None


def is_of_kind(recorded: Mapping[str, Any], chosen: Choice[TokenizerTrainer]) -> bool:
    """Whether the tokenizer of a recorded config is made as the one that was chosen, be it of other text."""
    return not TOKENIZER.problems(recorded) and TOKENIZER.parse(recorded).essential() == chosen.essential()


def forget() -> None:
    """Let the next call of :func:`materials_of` read everything again."""
    _materials.clear()
    _splits.clear()


def cache_folder(root: Path) -> Path:
    """Where prepared data is kept between the runs below a folder."""
    return root / "cache"


_materials: dict[str, Materials] = {}
_splits: dict[str, Splits[Any]] = {}


def _splits_of(data: Choice[Data[Any]], folder: Path) -> Splits[Any]:
    key = json.dumps([data.essential(), str(folder), os.getcwd()], sort_keys=True)  # its paths may be relative
    if key not in _splits:
        _splits[key] = data.create().load(folder)
    return _splits[key]
