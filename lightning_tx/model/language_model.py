"""What the topologies have in common: sizes, the token embedding, and the projection to the vocabulary."""

from collections.abc import Collection, Sequence
from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.context import Memory, Output
from lightning_tx.core.dims import Dims, head_dim_of
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.group import Group
from lightning_tx.kernels.cache import Cache
from lightning_tx.kernels.linear_cross_entropy import linear_cross_entropy
from lightning_tx.model.generation import Generation
from lightning_tx.model.init import initialise
from lightning_tx.model.options import ModelOptions


def padded(vocab_size: int, multiple: int) -> int:
    """``vocab_size`` rounded up to a multiple."""
    return -(-vocab_size // multiple) * multiple


class LanguageModel(nn.Module):
    """Base of the topologies: embeds tokens and projects states to the vocabulary.

    ``forward`` returns states, not logits, so that a loss can project them piece by piece; ``logits`` projects.

    The embedding starts with ``embedding_std`` and is multiplied by ``embedding_scale``. The defaults belong
    together: entries of std ``d_model^-0.5`` times ``sqrt(d_model)`` enter the stack with variance 1, and the same
    matrix used as output projection gives logits of variance 1.

    Args:
        tokenizer_size: entries of the tokenizer's vocabulary, if there is one.
        encoder_layers: depth of the encoder; 0 for none.
        decoder_layers: depth of the decoder; 0 for none.

    Raises:
        ConfigError: ``num_heads`` does not divide ``d_model``, or the size of the vocabulary is unknown or too small.

    Attributes:
        dims: the sizes.
        vocab_size: entries of the vocabulary that stand for something; the embedding may have more rows.
        token_embedding: [V, D].
        lm_head: linear from D to V; shares the embedding's weight if tied.
        num_inputs: how many sequences of token ids ``forward`` takes.
        causal: whether a state depends on no later token of its sequence.
        seen_ahead: leading tokens of each document that, though ``causal``, are seen by those before them, and that
            are therefore not to be predicted.
    """

    num_inputs: ClassVar[int] = 1
    causal: ClassVar[bool]
    seen_ahead: int = 0

    def __init__(
        self, tokenizer_size: int | None, *, encoder_layers: int, decoder_layers: int, **options: Unpack[ModelOptions]
    ) -> None:
        super().__init__()
        chosen = with_defaults(ModelOptions, options)
        d_model, num_heads, d_ff = chosen["d_model"], chosen["num_heads"], chosen["d_ff"]
        self.vocab_size = known_vocab_size("model.vocab_size", chosen["vocab_size"], tokenizer_size)
        self.dims = dims = Dims(
            d_model=d_model,
            num_heads=num_heads,
            head_dim=head_dim_of(d_model, num_heads, chosen["head_dim"]),
            d_ff=4 * d_model if d_ff is None else d_ff,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            vocab_size=padded(self.vocab_size, chosen["vocab_multiple"]),
            max_seq_len=chosen["max_seq_len"],
            dropout=chosen["dropout"],
        )
        scale, std = chosen["embedding_scale"], chosen["embedding_std"]
        self.embedding_scale: float = d_model**0.5 if scale is None else scale
        self._embedding_std: float = d_model**-0.5 if std is None else std
        self._linear_std: float | None = chosen["linear_std"]
        self.token_embedding = nn.Embedding(dims.vocab_size, dims.d_model)
        self.lm_head = nn.Linear(dims.d_model, dims.vocab_size, bias=chosen["output_bias"])
        if chosen["tie_embeddings"]:
            self.lm_head.weight = self.token_embedding.weight

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """Token ids [B, T] to scaled embeddings [B, T, D]."""
        return self.token_embedding(tokens_BT) * self.embedding_scale

    def logits(self, x_BTD: Tensor) -> Tensor:
        """States [B, T, D] to scores over the vocabulary [B, T, V]; rows added as padding included."""
        return self.lm_head(x_BTD)

    def cross_entropy(self, x_ND: Tensor, targets_N: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """The cross-entropy of states [N, D] with target ids [N], summed; never holds the logits of all of them."""
        if type(self.lm_head) is nn.Linear:
            head = self.lm_head
            return linear_cross_entropy(x_ND, head.weight, head.bias, targets_N, label_smoothing=label_smoothing)
        # An adapter has taken the projection's place: it is called as it is.
        logits = self.lm_head(x_ND).float()
        return F.cross_entropy(logits, targets_N, label_smoothing=label_smoothing, reduction="sum")

    def begin(self, inputs: Sequence[Sequence[int]], *, bos_id: int, pad_id: int) -> Generation:
        """Start to generate for token ids: prompts of a decoder, sources of an encoder-decoder.

        Args:
            inputs: at least one row, of any lengths; a row's scores do not depend on the others.
            bos_id: what the target of an encoder-decoder starts with, and a prompt that is empty.
            pad_id: fills the shorter rows; like ``bos_id`` it is never produced.

        Raises:
            ConfigError: an input is longer than the positions reach, or the model is no generator.
        """
        raise self._no_generator()

    def room(self, inputs: Sequence[Sequence[int]]) -> list[int] | None:
        """How many tokens each input can be continued by; None where there is no limit.

        Raises:
            ConfigError: an input is longer than the positions reach.
        """
        raise self._no_generator()

    def advance(
        self, tokens_BT: Tensor, *, token_mask_BT: Tensor | None, cache: Cache, memory: Memory | None
    ) -> Output:
        """New tokens [B, T] of rows being generated to their states [B, T, D]."""
        raise self._no_generator()

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def _no_generator(self) -> ConfigError:
        return ConfigError(
            f"model.name: {type(self).__name__} does not generate text. Choices: decoder, encoder_decoder."
        )

    def initialise(self, seed: int, only: Collection[nn.Parameter] | None = None) -> None:
        """Fill every parameter, or these, as a function of the seed and its name."""
        initialise(self, seed=seed, linear_std=self._linear_std, embedding_std=self._embedding_std, only=only)


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


MODEL = Group("model", LanguageModel, __package__, gives=None)
