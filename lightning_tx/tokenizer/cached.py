"""Tokenizers that are trained once and used by every run that wants the same one."""

from collections.abc import Sequence
from pathlib import Path

import tokenizers

from lightning_tx.core.group import Choice
from lightning_tx.data.pieces import pieces
from lightning_tx.data.storage import build_once, digest_of, digest_of_texts
from lightning_tx.tokenizer.base import Tokenizer, TokenizerTrainer


def train_cached(
    choice: Choice[TokenizerTrainer], texts: Sequence[str], cache: Path, special_tokens: tuple[str, ...] = ()
) -> Tokenizer:
    """The tokenizer that was chosen, trained on ``texts`` or taken from the cache.

    It is kept under the digest of the texts, the choice with its defaults, and the version of the library. Several
    processes may ask for the same one at once: one trains, the others wait.

    Args:
        choice: the component, with its options.
        texts: the training split.
        cache: folder that holds the caches.
        special_tokens: what it must know besides the special tokens of every tokenizer.
    """
    trainer = choice.create()
    trainer.special_tokens = (*trainer.special_tokens, *special_tokens)
    key = digest_of(
        [tokenizers.__version__, choice.name, dict(choice.options), trainer.special_tokens, digest_of_texts(texts)]
    )
    path = cache / "tokenizers" / f"{key}.json"
    parts = (part for text in texts for part in pieces(text))
    build_once(path, lambda partial: trainer.train(parts).save(partial))
    return Tokenizer.load(path)
