"""The sizes of a model, and where in it a component stands."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import nn

from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.pattern import Pattern

Stack = Literal["encoder", "decoder"]
Role = Literal["positions", "self_attention", "cross_attention", "feed_forward", "block"]


@dataclass(frozen=True, kw_only=True)
class Dims:
    """The sizes that all components of one model share.

    Attributes:
        d_model: width of the residual stream (D).
        num_heads: attention heads (H).
        head_dim: width of a head (K).
        d_ff: inner width of the feed-forward (F).
        encoder_layers: depth of the encoder, 0 without one.
        decoder_layers: depth of the decoder, 0 without one.
        max_seq_len: longest sequence the model is trained on, in tokens.
        dropout: probability for embeddings and residual branches.
    """

    d_model: int
    num_heads: int
    head_dim: int
    d_ff: int
    encoder_layers: int
    decoder_layers: int
    max_seq_len: int
    dropout: float


class _WatchedDims(Dims):
    """Notes which sizes are asked for."""

    _read: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if name in _SIZES:
            super().__getattribute__("_read").add(name)
        return super().__getattribute__(name)


_SIZES = frozenset(field.name for field in fields(Dims))


def watched(dims: Dims, read: set[str]) -> Dims:
    """The same sizes; the name of each that is asked for is added to ``read``."""
    copy = _WatchedDims(**{name: getattr(dims, name) for name in _SIZES})
    object.__setattr__(copy, "_read", read)
    return copy


def head_dim_of(d_model: int, num_heads: int, head_dim: int | None) -> int:
    """The width of a head: as given, else ``d_model / num_heads``.

    Raises:
        ConfigError: ``num_heads`` does not divide ``d_model`` and no ``head_dim`` is given.
    """
    if head_dim is not None:
        return head_dim
    if d_model % num_heads:
        divisors = [n for n in range(1, d_model + 1) if d_model % n == 0]
        raise ConfigError(
            f"model.num_heads: {num_heads} does not divide model.d_model = {d_model}. "
            f"Choices: {', '.join(map(str, divisors))}; or set model.head_dim."
        )
    return d_model // num_heads


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where one component instance stands in a model. Most components ignore it.

    Attributes:
        stack: the stack it belongs to.
        role: its role in the layer.
        causal: whether the stack's self-attention looks at the past only.
        layer: index of the layer in its stack, from 0; 0 for what a stack has once.
        depth: number of layers in its stack.
        make_norm: builds the layer's norm for a given width, for parts that need one inside.
        pattern: who may look at whom, in self-attention; None where everything is allowed.
        make_linear: builds a feed-forward's projection, called as ``nn.Linear`` is: one for all tokens, or one for each
            group of them where the feed-forward is a set of experts.
        vocab_size: how many token ids there are in the stack; None where it reads something else than tokens.
    """

    stack: Stack
    role: Role
    causal: bool
    layer: int
    depth: int
    make_norm: Callable[[int], nn.Module]
    pattern: Pattern | None = None
    make_linear: Callable[..., nn.Module] = nn.Linear
    vocab_size: int | None = None

    @property
    def is_cross(self) -> bool:
        """Whether keys and values come from the encoder's output."""
        return self.role == "cross_attention"

    @property
    def key(self) -> str:
        """A name for this place that is unique in its model, as ``decoder.3.self_attention``."""
        return f"{self.stack}.{self.layer}.{self.role}"
