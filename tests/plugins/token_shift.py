"""A feed-forward in which half of a token's channels come from the token before."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx import register
from lightning_tx.components.feed_forward.base import Plain
from lightning_tx.core.context import Context, Output
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError


@register("feed_forward", "token_shift")
class TokenShift(Plain):
    """``W2 ReLU(W1 [first half of x_(t-1), second half of x_t])²``.

    Source: Peng et al. 2023 (RWKV), arXiv:2305.13048, section 3.1.
    """

    tells_order: ClassVar[bool] = True

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        if not site.causal:
            raise ConfigError("feed_forward.name: token_shift looks at the token before; it is for a causal stack.")
        self.site = site

    def activation(self, x: Tensor) -> Tensor:
        return F.relu(x).square()

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        half = x_BTD.shape[-1] // 2
        (before_BTD,) = ctx.recent(self.site, x_BTD[..., :half], 1)
        return Output(self.map(torch.cat([before_BTD, x_BTD[..., half:]], dim=-1)))
