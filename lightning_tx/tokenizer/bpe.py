"""Byte-level byte-pair encoding."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from lightning_tx.tokenizer.base import SPECIAL_TOKENS, TOKENIZER, TokenizerTrainer

_NUM_BYTES = 256


@TOKENIZER.register("bpe")
class Bpe(TokenizerTrainer):
    """Byte-pair encoding over bytes, with GPT-2's division into words; nothing is unknown.

    Source: Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019 (GPT-2)

    Args:
        vocab_size: tokens in all, special tokens and the 256 bytes included. Short text may give fewer.
        min_frequency: how often a pair must occur in the training text to be merged.
    """

    def __init__(
        self,
        *,
        vocab_size: Annotated[int, Field(ge=_NUM_BYTES + len(SPECIAL_TOKENS))] = 2048,
        min_frequency: Annotated[int, Field(ge=1)] = 2,
    ) -> None:
        self.vocab_size = vocab_size
        self.min_frequency = min_frequency

    def build(self, texts: Iterable[str]) -> Backend:
        """Learn the merges; ties between pairs are broken the same way every time."""
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=list(self.special_tokens),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        return backend
