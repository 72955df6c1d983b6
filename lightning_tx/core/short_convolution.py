"""A causal convolution over the last few tokens, each channel by itself."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_tx.core.context import Context
from lightning_tx.core.dims import Site
from lightning_tx.core.schemes import Uniform, declare


class ShortConvolution(nn.Module):
    """``y_t = Σ_l weight_l · x_(t-l)`` over ``l < width``, inside a document and without padding.

    What it keeps in a cache is its last ``width - 1`` inputs.

    Args:
        site: where it stands.
        channels: width of a token's vector (D).
        width: how many tokens it sees, the own one among them.
        name: tells several of them at one place apart.

    Attributes:
        weight: [width, D]; the first row belongs to the token itself.
        tells_order: by it the order of tokens shows.
    """

    tells_order: ClassVar[bool] = True

    def __init__(self, site: Site, channels: int, width: int, *, name: str = "convolution") -> None:
        super().__init__()
        self.site, self.width, self.name = site, width, name
        self.weight = nn.Parameter(torch.empty(width, channels))
        declare(self, weight=Uniform(width**-0.5))

    def forward(self, x_BTD: Tensor, ctx: Context) -> Tensor:
        """[B, T, D] to [B, T, D].

        Raises:
            ConfigError: as :meth:`Context.recent`.
        """
        own, *others = self.weight.to(x_BTD.dtype)
        out_BTD = x_BTD * own
        for weight, before_BTD in zip(
            others, ctx.recent(self.site, x_BTD, self.width - 1, name=self.name), strict=True
        ):
            out_BTD = torch.addcmul(out_BTD, before_BTD, weight)
        return out_BTD
