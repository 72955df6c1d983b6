"""What the layers of a stack are told in one forward pass, and what they answer."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lightning_tx.core.dims import Site
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.attend import attend
from lightning_tx.kernels.cache import Cache
from lightning_tx.kernels.masks import BiasFunction, Mask, positions_in_rows
from lightning_tx.kernels.ring import Ring
from lightning_tx.kernels.ring_attention import ring_attention
from lightning_tx.kernels.scores import Scores


@dataclass(frozen=True)
class Memory:
    """An encoder's output, as cross-attention reads it.

    Attributes:
        x_BSD: the encoder's states.
        token_mask_BS: True at real tokens; None where there is no padding.
    """

    x_BSD: Tensor
    token_mask_BS: Tensor | None = None

    @property
    def positions(self) -> Tensor:
        """The position of each of its tokens, [B or 1, S]: real tokens are counted."""
        return positions_in_rows(self.x_BSD.shape[1], token_mask=self.token_mask_BS, device=self.x_BSD.device)


@dataclass(frozen=True, kw_only=True)
class Context:
    """One stack, one forward pass. It names no layer: what depends on the layer stands in the site.

    Attributes:
        mask: who may attend to whom in self-attention, before the site's pattern.
        rotate: turns queries or keys [B, H, T, K] by their positions.
        rotate_memory: turns keys of the memory by theirs; None without an encoder.
        rotation: from positions [B or 1, S] to what turns queries or keys by these.
        bias: what the positions add to the attention scores.
        bias_is_relative: whether an entry of the bias depends on the difference of its two positions alone.
        token_mask_BT: True at real tokens among the queries; None where there is no padding.
        token_ids_BT: the ids of the tokens, with a cache of the new ones, with several processes of the own ones; None
            where the stack reads something else than tokens. What stands at padding is any id.
        carried: what sublayers of earlier layers of the stack left in this pass (:attr:`Output.carried`), by name.
        cache: what was kept of earlier tokens; None outside of decoding.
        memory: the encoder's output; None without an encoder.
        prefix: keys [B or 1, G, P, K] and values [B or 1, G, P, K] that every query of the layer sees besides its own
            source, whatever the mask, without position or bias; None outside of layers that an adapter has given some.
        ring: the processes that share the sequence, of which this one holds a part; None where it holds all of it.
    """

    mask: Mask
    rotate: Callable[[Tensor], Tensor]
    rotate_memory: Callable[[Tensor], Tensor] | None = None
    bias: BiasFunction
    bias_is_relative: bool = True
    token_mask_BT: Tensor | None = None
    token_ids_BT: Tensor | None = None
    carried: Mapping[str, Tensor] = field(default_factory=dict)
    cache: Cache | None = None
    memory: Memory | None = None
    prefix: tuple[Tensor, Tensor] | None = None
    ring: Ring | None = None
    rotation: Callable[[Tensor], Callable[[Tensor], Tensor]] = lambda positions: lambda x: x

    def attend(
        self,
        site: Site,
        q_BHTK: Tensor,
        k_BGSK: Tensor,
        v_BGSK: Tensor,
        *,
        scale: float | None = None,
        dropout: float = 0.0,
        scores: Scores | None = None,
        cross_positions: bool = False,
    ) -> Tensor:
        """Attention as it applies at a site: see :func:`lightning_tx.kernels.attend.attend`.

        Self-attention obeys the mask, the site's pattern and the positions' bias; cross-attention obeys the padding
        of the memory and, where asked for by ``cross_positions``, the bias.

        Raises:
            ConfigError: processes share the sequence, and the layer has a prefix, or asks for what
                :func:`lightning_tx.kernels.ring_attention.ring_attention` refuses.
        """
        if self.ring is not None:
            return self._attend_in_ring(self.ring, site, q_BHTK, k_BGSK, v_BGSK, scale, dropout, scores)
        if site.is_cross:
            mask, bias = self._memory_mask(cross_positions), self.bias if cross_positions else None
        else:
            mask, bias = self.mask.within(site.pattern), self.bias
        return attend(
            q_BHTK,
            k_BGSK,
            v_BGSK,
            mask,
            bias=bias,
            bias_is_relative=self.bias_is_relative,
            prefix=self.prefix,
            scale=scale,
            dropout=dropout,
            scores=scores,
        )

    def remember(self, site: Site, new: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add what a self-attention holds of the new tokens, [..., T, width] each, to what it holds of earlier ones.

        Returns:
            The same for all tokens that may still be looked at, [..., S, width]; ``new`` itself without a cache.
        """
        if self.cache is None:
            return new
        return self.cache.append(site.key, new, keep=self.mask.needed(site.pattern))

    def rotate_held(self, k_BGSK: Tensor) -> Tensor:
        """Turn keys [B, G, S, K] that were given to :meth:`remember` as they are, each by its own position."""
        return self.rotation(self.mask.k_positions[:, -k_BGSK.shape[2] :])(k_BGSK)

    def state(self, site: Site, name: str) -> Tensor | None:
        """What :meth:`keep` was last given for a layer; None at the start of a sequence and without a cache."""
        held = None if self.cache is None else self.cache.state(f"{site.key}.{name}")
        return None if held is None else held[name]

    def keep(self, site: Site, name: str, state: Tensor) -> None:
        """Keep a tensor [B, ...] for the tokens to come, in place of the one that was kept; nothing without a cache.

        Args:
            site: the layer's place.
            name: tells several states of one layer apart.
            state: what the layer knows of all tokens so far.
        """
        if self.cache is not None:
            self.cache.replace(f"{site.key}.{name}", {name: state.detach().clone()})

    def recent(self, site: Site, x_BTD: Tensor, width: int, *, name: str = "recent") -> tuple[Tensor, ...]:
        """What came 1, 2, …, ``width`` tokens before each token, as a short convolution or a token shift reads it.

        Args:
            site: the layer's place.
            x_BTD: one vector a token, of the new tokens; with a cache the last ``width`` are kept.
            width: how far to look back.
            name: tells several uses in one layer apart.

        Returns:
            ``width`` tensors [B, T, D]; zeros where a row or a document has no such token, or it is padding.

        Raises:
            ConfigError: processes share the sequence.
        """
        self.needs_all_tokens()
        before = self.state(site, name)
        if before is None:
            before = x_BTD.new_zeros(x_BTD.shape[0], width, x_BTD.shape[2])
        x = torch.cat([before, x_BTD], dim=1)
        self.keep(site, name, x[:, x.shape[1] - width :])
        lags = range(1, width + 1)
        found = (x[:, width - lag : x.shape[1] - lag] for lag in lags)
        return tuple(
            each if seen is None else each.masked_fill(~seen[..., None], 0)
            for each, seen in zip(found, map(self.mask.sees_before, lags), strict=True)
        )

    def needs_all_tokens(self) -> None:
        """Do nothing.

        Raises:
            ConfigError: processes share the sequence, so that what comes before a token may be with another one.
        """
        if self.ring is not None:
            raise ConfigError(
                "group: a layer that goes through the tokens in order does not go with a sequence shared by processes."
            )

    def _attend_in_ring(
        self,
        ring: Ring,
        site: Site,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scale: float | None,
        dropout: float,
        scores: Scores | None,
    ) -> Tensor:
        if self.prefix is not None:
            raise ConfigError("adapter.name: prefix does not go with a sequence shared by processes (group).")
        options = {"pattern": site.pattern, "bias": self.bias, "scale": scale, "dropout": dropout, "scores": scores}
        return ring_attention(q, k, v, ring, **options)  # pyright: ignore[reportCallIssue, reportReturnType]

    def _memory_mask(self, with_positions: bool) -> Mask:
        assert self.memory is not None
        own = self.mask.q_positions
        k_positions = self.memory.positions if with_positions else own.new_zeros(1, self.memory.x_BSD.shape[1])
        return Mask(q_positions=own, k_positions=k_positions, causal=False, k_token_mask=self.memory.token_mask_BS)


class Mean(NamedTuple):
    """A mean in two parts, so that the means of several batches can be put together whatever their sizes.

    Attributes:
        sum: over real tokens, or whatever is counted; a scalar, or a vector of several means at once.
        count: how many there are, a scalar.
    """

    sum: Tensor
    count: Tensor

    @property
    def value(self) -> Tensor:
        """The mean."""
        return self.sum / self.count

    def plus(self, other: "Mean") -> "Mean":
        """The mean over both."""
        return Mean(self.sum + other.sum, self.count + other.count)


@dataclass(frozen=True)
class Output:
    """What a sublayer, block, stack or model returns.

    Attributes:
        x: the states, [B, T, D].
        losses: auxiliary losses by name, each as (mean per real token, weight); the objective adds value · weight.
        stats: what is worth watching, by name; never part of the loss.
        carried: what a sublayer leaves to later layers of its stack in the same pass, by name, gradients included; a
            later layer's takes the place of an earlier one's. It ends with the stack.
    """

    x: Tensor
    losses: dict[str, tuple[Tensor, float]] = field(default_factory=dict)
    stats: dict[str, Mean] = field(default_factory=dict)
    carried: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def gather(x: Tensor, parts: Iterable["Output"]) -> "Output":
        """States ``x`` with the losses and stats of all parts, the names of which must differ, and what they carry."""
        losses: dict[str, tuple[Tensor, float]] = {}
        stats: dict[str, Mean] = {}
        carried: dict[str, Tensor] = {}
        for part in parts:
            losses.update(part.losses)
            stats.update(part.stats)
            carried.update(part.carried)
        return Output(x, losses, stats, carried)


@dataclass(frozen=True)
class KeyValueShape:
    """The shape of what an attention looks at.

    Attributes:
        num_heads: key/value heads (G).
        key_width: width of a key, as it meets a query.
        value_width: width of a value.
    """

    num_heads: int
    key_width: int
    value_width: int


class Sublayer(nn.Module):
    """What a block runs inside a residual branch: attention and feed-forward alike.

    Attributes:
        kv_shape: of an attention; None for what is none.
        carries: the sizes of what it leaves to later layers in :attr:`Output.carried`, by name; whatever two layers
            must agree on, as heads and their width.
        needs: the sizes of what it reads of :attr:`Context.carried`, by name. A model in which the layer before that
            carries a name last does not carry it in these sizes, or none does, is refused before it trains.
        attends: of what stands in the place of an attention: whether it reads the pattern and the positions; False
            where it goes through the tokens in order.
        tells_order: whether the order of tokens shows by it, whatever the positions.
        sees_others: of a feed-forward: whether what it makes of a token depends on others of its document.
    """

    attends: ClassVar[bool] = True
    tells_order: ClassVar[bool] = False
    sees_others: ClassVar[bool] = False
    kv_shape: KeyValueShape | None = None
    carries: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    needs: Mapping[str, tuple[int, ...]] = MappingProxyType({})

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to the branch's contribution [B, T, D]."""
        raise NotImplementedError

    def after_step(self, stats: Mapping[str, Mean]) -> None:
        """Move what learns without a gradient, kept in buffers.

        Called after each optimizer step and never in evaluation. Nothing may move in ``forward``, which gradient
        checkpointing runs twice.

        Args:
            stats: what all sublayers returned as stats, put together over the batches of this step.
        """

    def idle_parameters(self) -> int:
        """How many of the parameters take no part in the computation of one token."""
        return 0


class Absent(Sublayer):
    """Base of the choices called ``none``: a block is built without this sublayer, and without its norm."""
