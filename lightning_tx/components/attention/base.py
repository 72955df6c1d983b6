"""The interface of the group ``attention``: what is the same for every way of making heads."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Literal, TypedDict, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.group import Group
from lightning_tx.core.schemes import Constant, declare
from lightning_tx.kernels.scores import Scores, capped

Rotate = Callable[[Tensor], Tensor]


class AttentionOptions(TypedDict, total=False):
    """What any attention may have around its softmax.

    Source: the cap: Gemma Team 2024, arXiv:2408.00118; sinks: OpenAI 2025 (gpt-oss), arXiv:2508.10925; the gate: Qiu et
    al. 2025, arXiv:2505.06708.

    Args:
        logit_cap: bound on the scores, ``cap · tanh(score / cap)`` before bias and mask; null for none. Gemma 2: 50.
        sinks: whether each head has a trained score that takes part in its softmax and has the value zero.
        output_gate: a sigmoid, computed from the states, that multiplies what the heads found before ``o_proj``:
            ``elementwise`` or one number a head, ``headwise``; null for none.
    """

    logit_cap: Annotated[Annotated[float, Field(gt=0)] | None, Field(default=None)]
    sinks: Annotated[bool, Field(default=False)]
    output_gate: Annotated[Literal["elementwise", "headwise"] | None, Field(default=None)]


class Attention(Sublayer):
    """Attention over the own sequence or over an encoder's output, with or without a cache.

    A component makes its projections, calls one of them ``o_proj`` (H · K of the values to D), and writes
    :meth:`queries` and :meth:`keys_values`. Where the source comes from, the cache and the kernel are settled here,
    so that self- and cross-attention are the same component.

    Between scores and softmax stands what :meth:`scores` says, and between the softmax and ``o_proj`` what
    :meth:`outputs` does.

    A component sets ``kv_shape``.

    Args:
        dims: the sizes.
        site: where it stands.
        dropout: probability of dropping an attention weight in training.
        value_width: width of a head's output; None for ``head_dim``.

    Attributes:
        softmaxes: how many softmaxes a head has.
        cross_positions: whether in cross-attention queries and keys turn too, by their positions in target and source,
            and the bias of these is added.
        dropout: probability of dropping an attention weight in training.
    """

    softmaxes: ClassVar[int] = 1
    cross_positions: ClassVar[bool] = False
    o_proj: nn.Module

    def __init__(
        self,
        dims: Dims,
        site: Site,
        dropout: float,
        value_width: int | None = None,
        **options: Unpack[AttentionOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(AttentionOptions, options)
        self.site = site
        self.dropout = dropout
        self.scale = dims.head_dim**-0.5
        self.logit_cap: float | None = chosen["logit_cap"]
        self.sinks: nn.Parameter | None = None
        if chosen["sinks"]:
            self.sinks = nn.Parameter(torch.empty(self.softmaxes * dims.num_heads))
            declare(self, sinks=Constant(0.0))
        self.output_gate: nn.Module | None = None
        if chosen["output_gate"] is not None:
            elementwise = dims.head_dim if value_width is None else value_width
            width = {"elementwise": elementwise, "headwise": 1}[chosen["output_gate"]]
            self.output_gate = nn.Linear(dims.d_model, dims.num_heads * width, bias=False)

    @abstractmethod
    def queries(self, x_BTD: Tensor, rotate: Rotate) -> Tensor:
        """Queries [B, H, T, K]; ``rotate`` applies the positions, if the layer is told any."""

    @abstractmethod
    def keys_values(self, source_BSD: Tensor, rotate: Rotate) -> dict[str, Tensor]:
        """What the cache holds of the source, by name, each [..., S, width]."""

    def expand(self, held: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys [B, G, S, K] and values [B, G, S, K] from what the cache holds."""
        return held["k"], held["v"]

    def scores(self) -> Scores | None:
        """What happens to the scaled scores before the softmax; None for nothing."""
        if self.logit_cap is None and self.sinks is None:
            return None
        change = None if self.logit_cap is None else partial(capped, cap=self.logit_cap)
        return Scores(change, sinks=self.sinks)

    def outputs(self, out_BHTK: Tensor, x_BTD: Tensor) -> Tensor:
        """What the heads found [B, H, T, K], as ``o_proj`` gets it, from that and the layer's states."""
        if self.output_gate is None:
            return out_BHTK
        return out_BHTK * split_heads(self.output_gate(x_BTD), out_BHTK.shape[1]).sigmoid()

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Attend from the states [B, T, D] to the source and project back to [B, T, D]."""
        rotate = _unchanged if self.site.is_cross and not self.cross_positions else ctx.rotate
        q_BHTK = self.queries(x_BTD, rotate)
        k_BGSK, v_BGSK, carried = self._memory(ctx) if self.site.is_cross else self.own(x_BTD, ctx)
        dropout = self.dropout if self.training else 0.0
        out_BHTK = ctx.attend(
            self.site,
            q_BHTK,
            k_BGSK,
            v_BGSK,
            scale=self.scale,
            dropout=dropout,
            scores=self.scores(),
            cross_positions=self.cross_positions,
        )
        return Output(self.o_proj(self.outputs(out_BHTK, x_BTD).transpose(1, 2).flatten(2)), carried=carried)

    def own(self, x_BTD: Tensor, ctx: Context) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Keys and values [B, G, S, K] of self-attention, those of earlier tokens in a cache included.

        The third is what is left to later layers, nothing unless told otherwise; a component that leaves or reads
        something there says so in ``carries`` and ``needs``.
        """
        return *self.expand(ctx.remember(self.site, self.keys_values(x_BTD, ctx.rotate))), {}

    def _memory(self, ctx: Context) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        assert ctx.memory is not None
        memory_BSD, rotate = ctx.memory.x_BSD, _unchanged
        if self.cross_positions:
            assert ctx.rotate_memory is not None
            rotate = ctx.rotate_memory

        def project() -> dict[str, Tensor]:
            k, v = self.expand(self.keys_values(memory_BSD, rotate))
            return {"k": k, "v": v}

        held = project() if ctx.cache is None else ctx.cache.once(self.site.key, project)
        return held["k"], held["v"], {}


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """[B, T, heads · K] to [B, heads, T, K]."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _unchanged(x: Tensor) -> Tensor:
    return x


ATTENTION = Group("attention", Sublayer, __package__, gives=("dims", "site"))
