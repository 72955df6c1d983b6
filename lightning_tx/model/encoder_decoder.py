from collections.abc import Mapping, Sequence
from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.context import Memory, Output
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.body import MODEL
from lightning_tx.model.generation import Generation, check_lengths, right_padded
from lightning_tx.model.options import ModelOptions
from lightning_tx.model.parts import Parts
from lightning_tx.model.sizes import Sizes
from lightning_tx.model.stack import LayerStack
from lightning_tx.model.transformer import Transformer, known_vocab_size, padded


@MODEL.register("encoder_decoder")
class EncoderDecoder(Transformer):
    """Encoder-decoder: the decoder sees its own past and, by cross-attention, the whole encoded source.

    One embedding serves both stacks and, tied, the output: the tying of all three. Where ``share_embeddings`` is false
    the source has its own, and may have its own vocabulary.

    Source: Vaswani et al. 2017, arXiv:1706.03762.

    Args:
        parts: the components, by group.
        sizes: what the data say.
        num_encoder_layers: depth of the encoder.
        num_decoder_layers: depth of the decoder.
        source_vocab_size: entries of the source's vocabulary; null for the tokenizer's, or for the target's.
        share_embeddings: whether source and target share one embedding.
    """

    num_inputs = 2
    causal = True

    def __init__(
        self,
        parts: Parts,
        sizes: Sizes,
        *,
        num_encoder_layers: Annotated[int, Field(gt=0)] = 4,
        num_decoder_layers: Annotated[int, Field(gt=0)] = 4,
        source_vocab_size: Annotated[int, Field(gt=0)] | None = None,
        share_embeddings: bool = True,
        **options: Unpack[ModelOptions],
    ) -> None:
        chosen = with_defaults(ModelOptions, options)
        super().__init__(sizes, encoder_layers=num_encoder_layers, decoder_layers=num_decoder_layers, **chosen)
        vocab_size, dims, embedding_norm = self.vocab_size, self.dims, chosen["embedding_norm"]
        source_sizes = (source_vocab_size or vocab_size, sizes.source_vocab_size)
        if share_embeddings and source_sizes != (vocab_size, sizes.vocab_size):
            raise ConfigError("model.share_embeddings: true, but source and target have different vocabularies.")
        if share_embeddings:
            self.source_embedding = self.token_embedding
        else:
            size = known_vocab_size("model.source_vocab_size", source_vocab_size, sizes.source_vocab_size or vocab_size)
            self.source_embedding = nn.Embedding(padded(size, chosen["vocab_multiple"]), dims.d_model)
        self.encoder = LayerStack(
            parts,
            dims,
            "encoder",
            ("self_attention", "feed_forward"),
            causal=False,
            depth=num_encoder_layers,
            embedding_norm=embedding_norm,
            vocab_size=self.source_embedding.num_embeddings,
            share_layers=chosen["share_layers"],
        )
        self.decoder = LayerStack(
            parts,
            dims,
            "decoder",
            ("self_attention", "cross_attention", "feed_forward"),
            causal=True,
            depth=num_decoder_layers,
            embedding_norm=embedding_norm,
            vocab_size=self.token_embedding.num_embeddings,
            share_layers=chosen["share_layers"],
        )
        if parts.prefixes["decoder"]:
            raise ConfigError(
                f"pattern: a prefix does not go with model=encoder_decoder: the first {parts.prefixes['decoder']} "
                "tokens of the target would be seen before they are written. It is for model=decoder, where it holds "
                "the prompt."
            )

    @property
    def stacks(self) -> Mapping[str, LayerStack]:
        """The encoder, and the decoder next to the output."""
        return {"encoder": self.encoder, "decoder": self.decoder}

    def encode(self, source_BS: Tensor, token_mask_BS: Tensor | None = None) -> tuple[Memory, Output]:
        """Source ids [B, S] to what the decoder reads; the output carries the encoder's losses and stats."""
        embedded = self.source_embedding(source_BS) * self.embedding_scale
        output = self.encoder(embedded, token_mask_BT=token_mask_BS, token_ids_BT=source_BS)
        return Memory(output.x, token_mask_BS), output

    def decode(
        self,
        tokens_BT: Tensor,
        memory: Memory,
        *,
        token_mask_BT: Tensor | None = None,
        padding_last: bool = False,
        cache: Cache | None = None,
    ) -> Output:
        """Target ids [B, T] and the encoded source to states [B, T, D]; see :class:`LayerStack` for the rest."""
        return self.decoder(
            self.embed(tokens_BT),
            token_mask_BT=token_mask_BT,
            token_ids_BT=tokens_BT,
            padding_last=padding_last,
            cache=cache,
            memory=memory,
        )

    def forward(
        self,
        source_BS: Tensor,
        tokens_BT: Tensor,
        *,
        source_token_mask_BS: Tensor | None = None,
        token_mask_BT: Tensor | None = None,
        padding_last: bool = False,
    ) -> Output:
        """Source ids [B, S] and target ids [B, T] to states [B, T, D] of the target.

        Masks are True at real tokens; ``padding_last`` says that the target's padding is on the right.
        """
        memory, encoded = self.encode(source_BS, source_token_mask_BS)
        decoded = self.decode(tokens_BT, memory, token_mask_BT=token_mask_BT, padding_last=padding_last)
        return Output.gather(decoded.x, [encoded, decoded])

    def begin(self, inputs: Sequence[Sequence[int]], *, bos_id: int, pad_id: int) -> Generation:
        """Encode the sources, padded on the right, once; every target starts with ``<bos>``."""
        self.room(inputs)
        memory, _ = self.encode(*right_padded(inputs, pad_id, self.device))
        tokens_BT = torch.full((len(inputs), 1), bos_id, device=self.device)
        return Generation(self, tokens_BT, token_mask_BT=None, memory=memory, never=[bos_id, pad_id])

    def room(self, inputs: Sequence[Sequence[int]]) -> list[int] | None:
        """As many tokens as the decoder has positions: ``<bos>`` takes the first and the last token needs none."""
        check_lengths(inputs, self.encoder.max_positions, "source")
        limit = self.decoder.max_positions
        return None if limit is None else [limit] * len(inputs)

    def advance(
        self, tokens_BT: Tensor, *, token_mask_BT: Tensor | None, cache: Cache, memory: Memory | None
    ) -> Output:
        """New target tokens [B, T] and the encoded sources to states [B, T, D]."""
        assert memory is not None
        return self.decode(tokens_BT, memory, token_mask_BT=token_mask_BT, cache=cache)
