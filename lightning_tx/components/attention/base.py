"""The interface of the group ``attention``: what is the same for every way of making heads."""

from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.group import Group

Rotate = Callable[[Tensor], Tensor]


class Attention(Sublayer):
    """Attention over the own sequence or over an encoder's output, with or without a cache.

    A component makes its projections, calls one of them ``o_proj`` (H · K of the values to D), and writes
    :meth:`queries` and :meth:`keys_values`. Where the source comes from, the cache and the kernel are settled here,
    so that self- and cross-attention are the same component.

    A component sets ``kv_shape``.

    Attributes:
        dropout: probability of dropping an attention weight in training.
    """

    o_proj: nn.Module

    def __init__(self, dims: Dims, site: Site, dropout: float) -> None:
        super().__init__()
        self.site = site
        self.dropout = dropout
        self.scale = dims.head_dim**-0.5

    @abstractmethod
    def queries(self, x_BTD: Tensor, rotate: Rotate) -> Tensor:
        """Queries [B, H, T, K]; ``rotate`` applies the positions and does nothing in cross-attention."""

    @abstractmethod
    def keys_values(self, source_BSD: Tensor, rotate: Rotate) -> dict[str, Tensor]:
        """What the cache holds of the source, by name, each [..., S, width]."""

    def expand(self, held: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys [B, G, S, K] and values [B, G, S, K] from what the cache holds."""
        return held["k"], held["v"]

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Attend from the states [B, T, D] to the source and project back to [B, T, D]."""
        rotate = _unchanged if self.site.is_cross else ctx.rotate
        q_BHTK = self.queries(x_BTD, rotate)
        k_BGSK, v_BGSK = self._memory(ctx) if self.site.is_cross else self._own(x_BTD, ctx)
        dropout = self.dropout if self.training else 0.0
        out_BHTK = ctx.attend(self.site, q_BHTK, k_BGSK, v_BGSK, scale=self.scale, dropout=dropout)
        return Output(self.o_proj(out_BHTK.transpose(1, 2).flatten(2)))

    def _own(self, x_BTD: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
        return self.expand(ctx.remember(self.site, self.keys_values(x_BTD, ctx.rotate)))

    def _memory(self, ctx: Context) -> tuple[Tensor, Tensor]:
        assert ctx.memory is not None
        memory_BSD = ctx.memory.x_BSD

        def project() -> dict[str, Tensor]:
            k, v = self.expand(self.keys_values(memory_BSD, _unchanged))
            return {"k": k, "v": v}

        held = project() if ctx.cache is None else ctx.cache.once(self.site.key, project)
        return held["k"], held["v"]


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """[B, T, heads · K] to [B, heads, T, K]."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _unchanged(x: Tensor) -> Tensor:
    return x


ATTENTION = Group("attention", Sublayer, __package__, gives=("dims", "site"))
