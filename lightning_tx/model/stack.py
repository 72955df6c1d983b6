"""A stack of layers: encoder or decoder, the part of a model that does not know about vocabularies."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from lightning_tx.components.block.base import Block
from lightning_tx.components.positions.base import Positions
from lightning_tx.core.context import Context, Memory, Output, Sublayer
from lightning_tx.core.dims import Dims, Role, Stack
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.cache import Cache
from lightning_tx.kernels.dropout import Dropout
from lightning_tx.kernels.masks import Mask, positions_in_rows
from lightning_tx.kernels.ring import Ring
from lightning_tx.model.layers import unfit
from lightning_tx.model.parts import Parts

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class LayerStack(nn.Module):
    """Positions, layers and the final norm, if the last block wants one; a norm of the embedding, if asked for.

    Args:
        parts: where the components come from.
        dims: the sizes.
        stack: which stack this is.
        roles: the sublayers of each layer, in order.
        causal: whether self-attention looks at the past only.
        depth: number of layers.
        embedding_norm: whether the embedded tokens pass a norm before the first layer, once their positions are added.
        vocab_size: how many token ids there are; None where it is given something else than embedded tokens.
        share_layers: how many layers have parameters of their own, which the others repeat in turn; None for all.

    Attributes:
        positions: what is added to the embedding, and done in the attention of every layer without other positions.
        other_positions: those of such layers, where overrides choose some.
    """

    def __init__(
        self,
        parts: Parts,
        dims: Dims,
        stack: Stack,
        roles: tuple[Role, ...],
        *,
        causal: bool,
        depth: int,
        embedding_norm: bool = False,
        vocab_size: int | None = None,
        share_layers: int | None = None,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.positions = parts.positions(dims, stack, causal=causal, depth=depth)
        own = [parts.positions(dims, stack, layer, causal=causal, depth=depth) for layer in range(depth)]
        known = list(dict.fromkeys([self.positions, *own]))
        self.other_positions = nn.ModuleList(known[1:])
        self._positions_of = [known.index(each) for each in own]
        make_norm = parts.norm_maker(stack, None)
        self.embedding_norm = make_norm(dims.d_model) if embedding_norm else nn.Identity()
        self.dropout = Dropout(dims.dropout)
        self.layers = nn.ModuleList(
            parts.block(dims, stack, layer, roles, causal=causal, depth=depth, vocab_size=vocab_size)
            for layer in range(depth)
        )
        parts.problems += unfit(self.layers, stack)
        if share_layers is not None:
            parts.share(list(self.layers), stack, roles, share_layers)
        last = self.layers[-1]
        self.final_norm = make_norm(dims.d_model) if last.needs_final_norm else nn.Identity()

    @property
    def max_positions(self) -> int | None:
        """Number of positions that all its positions know; None where they go on for ever."""
        limits = [each.max_positions for each in self._known_positions if each.max_positions is not None]
        return min(limits) if limits else None

    @property
    def sublayers(self) -> dict[str, Sublayer]:
        """The sublayers of its layers, by name within the stack; the last part of a name is the role."""
        return {
            f"layers.{number}.sublayers.{role}": cast(Sublayer, sublayer)
            for number, block in enumerate(self.layers)
            for role, sublayer in cast(Block, block).sublayers.items()
        }

    @property
    def norms(self) -> dict[str, nn.Module]:
        """The norms outside of sublayers: those of its layers and the last one, by name within the stack."""
        own = {
            f"layers.{number}.norms.{name}": norm
            for number, block in enumerate(self.layers)
            for name, norm in cast(Block, block).norms.items()
        }
        return {**own, "final_norm": self.final_norm}

    def forward(
        self,
        x_BTD: Tensor,
        *,
        positions_BT: Tensor | None = None,
        documents_BT: Tensor | None = None,
        token_mask_BT: Tensor | None = None,
        token_ids_BT: Tensor | None = None,
        padding_last: bool = False,
        cache: Cache | None = None,
        memory: Memory | None = None,
        group: "ProcessGroup | None" = None,
    ) -> Output:
        """Run embedded tokens [B, T, D] through the layers.

        Args:
            x_BTD: embedded tokens; with a cache, the new ones only.
            positions_BT: position of each token; None to count the real tokens of each document.
            documents_BT: document of each token, for several in one row; attention stays inside a document.
            token_mask_BT: True at real tokens; None where there is no padding. Outputs at padding are unspecified.
            token_ids_BT: the ids of these tokens, for layers that read them; None where there are none.
            padding_last: whether all padding follows the real tokens of its row. Causal attention never looks that far,
                so it does without a mask; what depends on real tokens otherwise still has it.
            cache: what was kept of earlier tokens; a generation that has padding or documents passes them each time.
            memory: an encoder's output, for cross-attention.
            group: the processes that share the sequence, each of which runs this on its own tokens; see
                :mod:`lightning_tx.model.sharding`. None where there is one.

        Raises:
            ConfigError: the sequence is longer than the positions reach, or what is given does not go with a group.
        """
        # A part of a sequence may begin with padding and end with real tokens.
        hidden_by_order = padding_last and self.causal and group is None
        mask = self._mask(x_BTD, positions_BT, documents_BT, None if hidden_by_order else token_mask_BT, cache)
        positions = mask.q_positions
        ring = None if group is None else self._ring(group, mask, positions_BT, cache, memory, x_BTD.shape[0])

        def context_by(own: Positions) -> Context:
            return Context(
                mask=mask,
                rotate=own.rotation(positions),
                rotate_memory=None if memory is None else partial(own.rotate, positions_BT=memory.positions),
                rotation=own.rotation,
                bias=own.bias,
                bias_is_relative=own.bias_is_relative,
                token_mask_BT=token_mask_BT,
                token_ids_BT=token_ids_BT,
                cache=cache,
                memory=memory,
                ring=ring,
            )

        contexts = [context_by(each) for each in self._known_positions]
        x_BTD = self.dropout(self.embedding_norm(self.positions.embed(x_BTD, positions)))
        outputs: list[Output] = []
        carried: dict[str, Tensor] = {}
        first, last = cast(Block, self.layers[0]), cast(Block, self.layers[-1])
        streams = first.enter(x_BTD)
        for layer, chosen in zip(self.layers, self._positions_of, strict=True):
            context = replace(contexts[chosen], carried=carried) if carried else contexts[chosen]
            outputs.append(layer(streams, context))
            streams, carried = outputs[-1].x, {**carried, **outputs[-1].carried}
        output = Output.gather(self.final_norm(last.leave(streams)), outputs)
        return Output(output.x, output.losses, output.stats)

    @property
    def _known_positions(self) -> list[Positions]:
        return [self.positions, *cast(list[Positions], list(self.other_positions))]

    def _mask(
        self,
        x_BTD: Tensor,
        positions: Tensor | None,
        documents: Tensor | None,
        token_mask: Tensor | None,
        cache: Cache | None,
    ) -> Mask:
        new, past = x_BTD.shape[1], 0 if cache is None else cache.length
        in_order = positions is None and documents is None and token_mask is None
        limit = self.max_positions
        if in_order and limit is not None and past + new > limit:
            raise ConfigError(
                f"positions: this choice knows {limit} positions (model.max_seq_len), "
                f"but the sequence has {past + new} tokens."
            )
        held = {"documents": documents, "token_mask": token_mask, "positions": positions}
        if cache is not None:
            held = cache.extend(new, **held)
        k_documents, k_token_mask, k_positions = held["documents"], held["token_mask"], held["positions"]
        if k_positions is None:
            k_positions = positions_in_rows(
                past + new, token_mask=k_token_mask, documents=k_documents, device=x_BTD.device
            )
        return Mask(
            q_positions=k_positions[:, past:],
            k_positions=k_positions,
            causal=self.causal,
            in_order=in_order,
            q_documents=documents,
            k_documents=k_documents,
            k_token_mask=k_token_mask,
        )

    def _ring(
        self,
        group: "ProcessGroup",
        mask: Mask,
        positions: Tensor | None,
        cache: Cache | None,
        memory: Memory | None,
        rows: int,
    ) -> Ring:
        problems = []
        if positions is None:
            problems.append("positions_BT: None, but a process of a group cannot count the others' tokens; pass them.")
        if cache is not None:
            problems.append("cache: does not go with a group; text is generated by one process.")
        if memory is not None:
            problems.append("memory: does not go with a group; a stack with cross-attention is run by one process.")
        if problems:
            raise ConfigError(problems)
        ring, limit = Ring(group, mask, rows), self.max_positions
        if limit is not None and ring.last_position() >= limit:
            raise ConfigError(
                f"positions: this choice knows {limit} positions (model.max_seq_len), but the tokens of the group go "
                f"up to position {ring.last_position()}."
            )
        return ring
