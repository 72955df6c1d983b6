"""The bodies that consist of one stack."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Unpack

from pydantic import Field
from torch import Tensor

from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.context import Output
from lightning_tx.core.dims import Stack
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.options import ModelOptions
from lightning_tx.model.parts import Parts
from lightning_tx.model.sizes import Sizes
from lightning_tx.model.stack import LayerStack
from lightning_tx.model.transformer import Transformer

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class SingleStack(Transformer):
    """One stack behind a token embedding.

    Args:
        parts: the components, by group.
        sizes: what the data say.
        num_layers: depth.
    """

    packs_documents = True
    name: ClassVar[Stack]

    def __init__(
        self,
        parts: Parts,
        sizes: Sizes,
        *,
        num_layers: Annotated[int, Field(gt=0)] = 4,
        **options: Unpack[ModelOptions],
    ) -> None:
        chosen = with_defaults(ModelOptions, options)
        layers = {"encoder_layers": 0, "decoder_layers": 0, f"{self.name}_layers": num_layers}
        super().__init__(sizes, **layers, **chosen)
        roles = ("self_attention", "feed_forward")
        self.stack = LayerStack(
            parts,
            self.dims,
            self.name,
            roles,
            causal=self.causal,
            depth=num_layers,
            embedding_norm=chosen["embedding_norm"],
            vocab_size=self.token_embedding.num_embeddings,
            share_layers=chosen["share_layers"],
        )
        self.seen_ahead = parts.prefixes[self.name]

    @property
    def stacks(self) -> Mapping[str, LayerStack]:
        """The only one."""
        return {"stack": self.stack}

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
            token_ids_BT=tokens_BT,
            cache=cache,
            group=group,
        )
