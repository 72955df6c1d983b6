"""Tokenizers that are trained once and used by every run that wants the same one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from lightning_tx.core import registry
from lightning_tx.data.pieces import pieces
from lightning_tx.data.storage import build_once, digest_of, digest_of_texts
from lightning_tx.tokenizer.base import Tokenizer, TokenizerTrainer


def train_cached(
    config: Mapping[str, Any], texts: Sequence[str], cache: Path, special_tokens: tuple[str, ...] = ()
) -> Tokenizer:
    """The tokenizer that a config describes, trained on ``texts`` or taken from the cache.

    It is kept under the digest of the texts, the config with its defaults, and the version of the library. Several
    processes may ask for the same one at once: one trains, the others wait.

    Args:
        config: ``name`` and the options of a component of the group ``tokenizer``.
        texts: the training split.
        cache: folder that holds the caches.
        special_tokens: what it must know besides the special tokens of every tokenizer.

    Raises:
        ConfigError: with every problem of the config.
    """
    options = registry.options("tokenizer", config)
    trainer: TokenizerTrainer = registry.create("tokenizer", config)
    trainer.special_tokens = (*trainer.special_tokens, *special_tokens)
    key = digest_of([tokenizers.__version__, config["name"], options, trainer.special_tokens, digest_of_texts(texts)])
    path = cache / "tokenizers" / f"{key}.json"
    parts = (part for text in texts for part in pieces(text))
    build_once(path, lambda partial: trainer.train(parts).save(partial))
    return Tokenizer.load(path)
