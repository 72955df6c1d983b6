"""One token for each character that the training text has."""

from collections.abc import Iterable

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from lightning_tx.tokenizer.base import TOKENIZER, UNK, TokenizerTrainer


@TOKENIZER.register("character")
class Character(TokenizerTrainer):
    """The Unicode characters of the training split; any other becomes ``<unk>``, which has no text.

    Source: Karpathy 2022, https://github.com/karpathy/nanoGPT (data/shakespeare_char)
    """

    def build(self, texts: Iterable[str]) -> Backend:
        """Byte-pair encoding over characters without a pair: much faster than splitting into words of one letter."""
        characters = sorted(set().union(*texts))
        backend = Backend(models.BPE(vocab=self.vocabulary(characters), merges=[], unk_token=UNK))
        backend.decoder = decoders.Fuse()
        return backend
