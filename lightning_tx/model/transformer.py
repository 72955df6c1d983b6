"""What bodies made of stacks of layers have in common: sizes, and the token embedding."""

from typing import Unpack

from torch import Tensor, nn

from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.dims import Dims, head_dim_of
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.body import Body
from lightning_tx.model.heads.language_model import LanguageModelHead
from lightning_tx.model.options import ModelOptions
from lightning_tx.model.sizes import Sizes


def padded(vocab_size: int, multiple: int) -> int:
    """``vocab_size`` rounded up to a multiple."""
    return -(-vocab_size // multiple) * multiple


def known_vocab_size(key: str, own: int | None, tokenizer: int | None) -> int:
    """The size of a vocabulary: the model's option, named ``key`` in messages, else the tokenizer's.

    Raises:
        ConfigError: neither is known, or the model's is smaller than the tokenizer's.
    """
    if own is None and tokenizer is None:
        raise ConfigError(f"{key}: null takes the tokenizer's, but there is no tokenizer; set a number.")
    if own is not None and tokenizer is not None and own < tokenizer:
        raise ConfigError(f"{key}: {own} is smaller than the tokenizer's vocabulary of {tokenizer}.")
    return own if own is not None else tokenizer or 0


class Transformer(Body):
    """Base of the bodies that embed tokens and run them through stacks of layers.

    The embedding starts with ``embedding_std`` and is multiplied by ``embedding_scale``. The defaults belong
    together: entries of std ``d_model^-0.5`` times ``sqrt(d_model)`` enter the stack with variance 1, and the same
    matrix used as output projection gives logits of variance 1.

    Args:
        sizes: what the data say; None for a vocabulary where there is no tokenizer.
        encoder_layers: depth of the encoder; 0 for none.
        decoder_layers: depth of the decoder; 0 for none.

    Raises:
        ConfigError: ``num_heads`` does not divide ``d_model``, or the size of the vocabulary is unknown or too small.

    Attributes:
        dims: the sizes that its components share.
        vocab_size: entries of the vocabulary that stand for something; the embedding may have more rows.
        token_embedding: [V, D].
        embedding_scale: factor on what is embedded.
    """

    def __init__(
        self, sizes: Sizes, *, encoder_layers: int, decoder_layers: int, **options: Unpack[ModelOptions]
    ) -> None:
        super().__init__()
        chosen = with_defaults(ModelOptions, options)
        d_model, num_heads, d_ff = chosen["d_model"], chosen["num_heads"], chosen["d_ff"]
        self.d_model, self.max_seq_len = d_model, chosen["max_seq_len"]
        self.vocab_size = known_vocab_size("model.vocab_size", chosen["vocab_size"], sizes.vocab_size)
        self.dims = Dims(
            d_model=d_model,
            num_heads=num_heads,
            head_dim=head_dim_of(d_model, num_heads, chosen["head_dim"]),
            d_ff=4 * d_model if d_ff is None else d_ff,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            max_seq_len=chosen["max_seq_len"],
            dropout=chosen["dropout"],
        )
        scale = chosen["embedding_scale"]
        self.embedding_scale: float = d_model**0.5 if scale is None else scale
        self.linear_std, self.embedding_std = chosen["linear_std"], chosen["embedding_std"]
        self.token_embedding = nn.Embedding(padded(self.vocab_size, chosen["vocab_multiple"]), d_model)
        self._tie_embeddings, self._output_bias = chosen["tie_embeddings"], chosen["output_bias"]
        self._logit_cap: float | None = chosen["logit_cap"]

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """Token ids [B, T] to scaled embeddings [B, T, D]."""
        return self.token_embedding(tokens_BT) * self.embedding_scale

    def language_model_head(self, sizes: Sizes) -> LanguageModelHead:
        """A projection with as many rows as the embedding, whose weight it shares unless told otherwise."""
        return LanguageModelHead(
            self.d_model,
            self.vocab_size,
            rows=self.token_embedding.num_embeddings,
            tied_to=self.token_embedding if self._tie_embeddings else None,
            bias=self._output_bias,
            logit_cap=self._logit_cap,
        )
