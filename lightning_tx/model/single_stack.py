"""The language models that consist of one stack."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from lightning_tx.core.cache import Cache
from lightning_tx.core.context import Output
from lightning_tx.core.dims import Stack
from lightning_tx.model.language_model import LanguageModel, known_vocab_size, make_dims
from lightning_tx.model.parts import Parts
from lightning_tx.model.stack import LayerStack

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class SingleStack(LanguageModel):
    """One stack between a token embedding and a projection to the vocabulary.

    Args:
        parts: the components, by group.
        tokenizer_size: entries of the tokenizer's vocabulary, if there is one.
        d_model: width of the residual stream.
        num_heads: attention heads.
        head_dim: width of a head; null for ``d_model / num_heads``.
        d_ff: inner width of the feed-forward; null for ``4 · d_model``.
        num_layers: depth.
        max_seq_len: longest sequence it is trained on, in tokens.
        dropout: probability for embeddings and residual branches.
        vocab_size: entries of the vocabulary; null for the tokenizer's.
        vocab_multiple: rows of the embedding are padded to a multiple of this.
        tie_embeddings: whether the output projection shares the embedding's weight.
        output_bias: whether the output projection has a bias.
        embedding_scale: factor on the embedding; null for ``sqrt(d_model)``.
        embedding_norm: whether the embedded tokens, positions added, pass a norm before the first layer, as in BERT.
        embedding_std: the embedding's standard deviation at the start; null for ``d_model^-0.5``.
        linear_std: that of linear layers; null for ``1 / sqrt(inputs)``.
        overrides: other components for some layers or sites.
    """

    name: ClassVar[Stack]

    def __init__(
        self,
        parts: Parts,
        tokenizer_size: int | None,
        *,
        d_model: Annotated[int, Field(gt=0)] = 128,
        num_heads: Annotated[int, Field(gt=0)] = 4,
        head_dim: Annotated[int, Field(gt=0)] | None = None,
        d_ff: Annotated[int, Field(gt=0)] | None = None,
        num_layers: Annotated[int, Field(gt=0)] = 4,
        max_seq_len: Annotated[int, Field(gt=0)] = 128,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        vocab_size: Annotated[int, Field(gt=0)] | None = None,
        vocab_multiple: Annotated[int, Field(gt=0)] = 64,
        tie_embeddings: bool = True,
        output_bias: bool = False,
        embedding_scale: Annotated[float, Field(gt=0)] | None = None,
        embedding_norm: bool = False,
        embedding_std: Annotated[float, Field(gt=0)] | None = None,
        linear_std: Annotated[float, Field(gt=0)] | None = None,
        overrides: list[dict[str, Any]] = [],  # noqa: B006
    ) -> None:
        vocab_size = known_vocab_size("model.vocab_size", vocab_size, tokenizer_size)
        is_decoder = self.name == "decoder"
        dims = make_dims(
            vocab_size=vocab_size,
            vocab_multiple=vocab_multiple,
            d_model=d_model,
            num_heads=num_heads,
            head_dim=head_dim,
            d_ff=d_ff,
            encoder_layers=0 if is_decoder else num_layers,
            decoder_layers=num_layers if is_decoder else 0,
            max_seq_len=max_seq_len,
            dropout=dropout,
        )
        super().__init__(
            dims,
            vocab_size=vocab_size,
            tie_embeddings=tie_embeddings,
            output_bias=output_bias,
            embedding_scale=embedding_scale,
            embedding_std=embedding_std,
            linear_std=linear_std,
        )
        roles = ("self_attention", "feed_forward")
        self.stack = LayerStack(
            parts, dims, self.name, roles, causal=self.causal, depth=num_layers, embedding_norm=embedding_norm
        )
        self.seen_ahead = parts.prefixes[self.name]

    def forward(
        self,
        tokens_BT: Tensor,
        *,
        positions_BT: Tensor | None = None,
        documents_BT: Tensor | None = None,
        token_mask_BT: Tensor | None = None,
        cache: Cache | None = None,
        group: "ProcessGroup | None" = None,
    ) -> Output:
        """Token ids [B, T] to states [B, T, D]; the other arguments are those of :class:`LayerStack`."""
        return self.stack(
            self.embed(tokens_BT),
            positions_BT=positions_BT,
            documents_BT=documents_BT,
            token_mask_BT=token_mask_BT,
            cache=cache,
            group=group,
        )
