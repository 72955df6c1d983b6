import torch
from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.components.attention.mixer import Mixer
from lightning_tx.core.context import Context, Output
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.schemes import Uniform, declare


@register("attention", "my_component")
class MyComponent(Mixer):
    """A running mean of values in each channel: ``h_t = a · h_(t-1) + (1 - a) · v_t``, where a is trained.

    Args:
        bias: whether the projections have a bias.
    """

    def __init__(self, dims: Dims, site: Site, *, bias: bool = False) -> None:
        super().__init__(dims, site)
        self.v_proj = nn.Linear(dims.d_model, dims.d_model, bias=bias)
        self.o_proj = nn.Linear(dims.d_model, dims.d_model, bias=bias)
        self.decay = nn.Parameter(torch.empty(dims.d_model))
        declare(self, decay=Uniform(3.0))

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Go through the tokens, from where a cache has left off; documents start anew, padding is passed over."""
        ctx.needs_all_tokens()
        v_BTD = self.v_proj(x_BTD)
        v_BTD = v_BTD.to(torch.promote_types(v_BTD.dtype, torch.float32))
        a, starts_BT, real_BT = self.decay.to(v_BTD.dtype).sigmoid(), ctx.mask.starts, ctx.token_mask_BT
        before = ctx.state(self.site, "mean")
        h_BD = torch.zeros_like(v_BTD[:, 0]) if before is None else before
        means = []
        for t, v_BD in enumerate(v_BTD.unbind(dim=1)):
            if starts_BT is not None:
                h_BD = h_BD.masked_fill(starts_BT[:, t, None], 0)
            after_BD = a * h_BD + (1 - a) * v_BD
            h_BD = after_BD if real_BT is None else torch.where(real_BT[:, t, None], after_BD, h_BD)
            means.append(h_BD)
        ctx.keep(self.site, "mean", h_BD)
        return Output(self.o_proj(torch.stack(means, dim=1).to(x_BTD.dtype)))
