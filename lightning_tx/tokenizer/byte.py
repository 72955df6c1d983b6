"""One token for each byte."""

from collections.abc import Iterable

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from lightning_tx.tokenizer.base import TOKENIZER, TokenizerTrainer


@TOKENIZER.register("byte")
class Byte(TokenizerTrainer):
    """The 256 byte values of UTF-8; nothing is learned and nothing is unknown.

    Source: Xue et al. 2021, arXiv:2105.13626
    """

    def build(self, texts: Iterable[str]) -> Backend:
        """Byte-pair encoding without a pair; ``texts`` is not read."""
        backend = Backend(models.BPE(vocab=self.vocabulary(sorted(pre_tokenizers.ByteLevel.alphabet())), merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.decoder = decoders.ByteLevel()
        return backend
