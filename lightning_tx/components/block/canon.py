from collections.abc import Callable
from typing import Annotated, Literal, Unpack

from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.block.base import BLOCK, BlockOptions
from lightning_tx.components.block.pre_norm import PreNorm
from lightning_tx.core.context import Context, Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.short_convolution import ShortConvolution

Convolved = Literal["self_attention", "cross_attention", "feed_forward"]
#: Unless told; never changed.
_SITES: list[Convolved] = ["self_attention", "feed_forward"]


@BLOCK.register("canon")
class Canon(PreNorm):
    """``x + Dropout(Sublayer(y + Convolution(y)))`` with ``y = Norm(x)``: tokens pass something on to their neighbours.

    The convolution is causal, a few tokens wide, one filter a channel, and stays in a document. By it the order of
    tokens shows without positions. The places before attention and feed-forward are the paper's A and C; B and D lie
    inside these. Entries start uniform within ``width^-0.5``, as torch's convolutions do.

    Source: Allen-Zhu 2025, "Physics of Language Models: Part 4.1", arXiv:2512.17351.

    Args:
        width: tokens that the convolution sees, the own one among them.
        sites: which sublayers have one.

    Raises:
        ConfigError: it stands in an encoder, whose tokens see both ways.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        sublayers: dict[str, Sublayer],
        make_norm: Callable[[int], nn.Module],
        *,
        width: Annotated[int, Field(gt=0)] = 4,
        sites: Annotated[list[Convolved], Field(min_length=1)] = _SITES,
        **options: Unpack[BlockOptions],
    ) -> None:
        super().__init__(dims, site, sublayers, make_norm, **options)
        if not site.causal:
            raise ConfigError(
                "block.name: canon looks at the tokens before; it is for a causal stack: take model=decoder, or "
                "model.overrides: [{stack: decoder, block: {name: canon}}]."
            )
        self.convolutions = nn.ModuleDict(
            {role: ShortConvolution(site, dims.d_model, width, name=role) for role in sites if role in sublayers}
        )

    def inputs(self, x_BTD: Tensor, role: str, ctx: Context) -> Tensor:
        """``y + Convolution(y)``."""
        return x_BTD + self.convolutions[role](x_BTD, ctx) if role in self.convolutions else x_BTD
