"""The language models that consist of one stack."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Unpack

from pydantic import Field
from torch import Tensor

from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.context import Output
from lightning_tx.core.dims import Stack
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.language_model import LanguageModel
from lightning_tx.model.options import ModelOptions
from lightning_tx.model.parts import Parts
from lightning_tx.model.stack import LayerStack

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class SingleStack(LanguageModel):
    """One stack between a token embedding and a projection to the vocabulary.

    Args:
        parts: the components, by group.
        tokenizer_size: entries of the tokenizer's vocabulary, if there is one.
        num_layers: depth.
    """

    name: ClassVar[Stack]

    def __init__(
        self,
        parts: Parts,
        tokenizer_size: int | None,
        *,
        num_layers: Annotated[int, Field(gt=0)] = 4,
        **options: Unpack[ModelOptions],
    ) -> None:
        chosen = with_defaults(ModelOptions, options)
        layers = {"encoder_layers": 0, "decoder_layers": 0, f"{self.name}_layers": num_layers}
        super().__init__(tokenizer_size, **layers, **chosen)
        roles = ("self_attention", "feed_forward")
        self.stack = LayerStack(
            parts,
            self.dims,
            self.name,
            roles,
            causal=self.causal,
            depth=num_layers,
            embedding_norm=chosen["embedding_norm"],
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
