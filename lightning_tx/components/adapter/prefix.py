from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, Protocol, cast, runtime_checkable

from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER, Adapter, at_sites, stacks_of, sublayers
from lightning_tx.components.adapter.extension import Extension
from lightning_tx.core.context import Context, KeyValueShape, Output, Sublayer
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Constant, Normal


class PrefixedAttention(Extension, Sublayer):
    """An attention whose queries see some trained keys and values besides its source."""

    relative = False  # a query is turned by its position, the prefix by none

    def extend(self, length: int, shape: KeyValueShape, like: Tensor) -> None:
        self.prefix_k = nn.Parameter(like.new_zeros(1, shape.num_heads, length, shape.key_width))
        self.prefix_v = nn.Parameter(like.new_zeros(1, shape.num_heads, length, shape.value_width))
        self.declare(prefix_k=Normal(1.0), prefix_v=Constant(0.0, decays=True))

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to the branch's contribution [B, T, D]."""
        return super().forward(x_BTD, replace(ctx, prefix=(self.prefix_k, self.prefix_v)))


@runtime_checkable
class Positional(Protocol):
    """The positions of a stack, as far as this adapter reads them."""

    max_positions: int | None

    def embed(self, x_BTD: Tensor, positions_BT: Tensor) -> Tensor:
        """The embedded tokens with their positions."""
        ...

    def rotation(self, positions_BT: Tensor) -> Callable[[Tensor], Tensor]:
        """What turns queries and keys."""
        ...

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """What is added to the scores."""
        ...


class ShiftedPositions(Extension, nn.Module):
    """The positions of a stack whose first token stands at position ``first``."""

    def extend(self, first: int) -> None:
        self.first = first
        if self.max_positions is not None:
            self.max_positions = self.max_positions - first

    def embed(self, x_BTD: Tensor, positions_BT: Tensor) -> Tensor:
        """As the original at the shifted positions; so the others."""
        return self._base.embed(x_BTD, positions_BT + self.first)

    def rotation(self, positions_BT: Tensor) -> Callable[[Tensor], Tensor]:
        """What turns queries and keys; where it calls ``rotate``, that is the original's."""
        return self._base.rotation(positions_BT + self.first)

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """What is added to the scores."""
        return self._base.bias(q_positions + self.first, k_positions + self.first)

    @property
    def _base(self) -> Any:
        return super()


@ADAPTER.register("prefix")
class Prefix(Adapter):
    """Trains keys and values that every query of a frozen attention sees besides its own source.

    They have no position and no mask. Each attention has its own, trained directly; the paper's detour through a
    network, dropped after training, is left out. Keys start with variance 1, values at zero: at first the prefix adds
    nothing but takes a share of the weights, so the model does not start exactly as the base.

    Source: Li and Liang 2021, arXiv:2101.00190.

    Args:
        length: how many keys and values (P) an attention gets.
        sites: which attentions; null for all.
        shift_positions: whether the first token of a stack whose self-attention has a prefix stands at position P, as
            if the prefix were tokens before it. So it is in peft, whose prefixes fit then.

    Raises:
        ConfigError: positions are to be shifted, and no self-attention has a prefix.
    """

    starts_as_base = False
    unmergeable = "prefix cannot be merged into the base: its keys and values are those of no token."

    def __init__(
        self,
        *,
        length: Annotated[int, Field(gt=0)] = 10,
        sites: Annotated[list[Literal["self_attention", "cross_attention"]], Field(min_length=1)] | None = None,
        shift_positions: bool = False,
    ) -> None:
        super().__init__()
        if shift_positions and sites is not None and "self_attention" not in sites:
            raise ConfigError(
                "adapter.shift_positions: true, but no self-attention has a prefix (adapter.sites), and others read no "
                "positions. Choices: false."
            )
        self.length, self.sites, self.shift_positions = length, sites, shift_positions

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        """The chosen attentions, each with a prefix.

        Raises:
            ConfigError: the model has no such attention.
        """
        attentions = {name: sublayer for name, sublayer in sublayers(model).items() if sublayer.kv_shape is not None}
        chosen = at_sites(attentions, self.sites)
        if not chosen:
            raise ConfigError("adapter.name: prefix gives keys and values to attentions, and this model has none.")
        like = next(model.parameters())
        prefixed: dict[str, nn.Module] = {
            name: PrefixedAttention.of(attention, self.length, attention.kv_shape, like)
            for name, attention in chosen.items()
        }
        return {**prefixed, **self._shifted(model)} if self.shift_positions else prefixed

    def _shifted(self, model: nn.Module) -> dict[str, nn.Module]:
        """The positions of the stacks, shifted."""
        return {
            f"{stack}.{name}": ShiftedPositions.of(cast(nn.Module, module), self.length)
            for stack, layers in stacks_of(model).items()
            for name, module in cast(nn.Module, layers).named_modules()
            if isinstance(module, Positional)
        }
