import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.attention.base import ATTENTION, split_heads
from lightning_tx.components.attention.mixer import Mixer
from lightning_tx.core.context import Context, Output
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.schemes import Between, declare
from lightning_tx.core.short_convolution import ShortConvolution
from lightning_tx.kernels.delta_rule import gated_delta_rule


@ATTENTION.register("gated_deltanet")
class GatedDeltaNet(Mixer):
    """Heads that each keep one matrix of all tokens so far, which decays and is corrected at every token.

    Queries, keys and values pass a short causal convolution and SiLU; queries and keys have length 1, queries over
    ``sqrt(head_dim)``. A head's matrix decays by ``exp(-exp(decay_log) · softplus(decay_proj(x) + decay_bias))``, and
    what it holds under the key moves towards the value at the rate ``sigmoid(rate_proj(x))``. What the query reads
    passes a norm of the layer's kind and a gate, ``silu(gate_proj(x))``. Time grows with the length, and a cache holds
    a matrix a head and three inputs, whatever the length. Positions are not read.

    At first the decay of a head is ``exp(-A · dt)`` with A between 1 and 16 and dt between 0.001 and 0.1, drawn evenly
    in their logarithms.

    Source: Yang et al. 2024, arXiv:2412.06464; the layer as in Qwen3-Next, initial decays as in Dao and Gu 2024,
    arXiv:2405.21060.

    Args:
        value_head_dim: width of a head's values (V); null for ``head_dim``. The matrix is ``head_dim`` times V.
        convolution_width: tokens that the convolution sees, the own one among them; 1 leaves a factor a channel.

    Raises:
        ConfigError: it stands in cross-attention, in an encoder, or under a pattern.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        value_head_dim: Annotated[int, Field(gt=0)] | None = None,
        convolution_width: Annotated[int, Field(gt=0)] = 4,
    ) -> None:
        super().__init__(dims, site)
        self.num_heads = dims.num_heads
        value = dims.head_dim if value_head_dim is None else value_head_dim
        k_width, v_width = dims.num_heads * dims.head_dim, dims.num_heads * value
        self.widths = [k_width, k_width, v_width]
        self.q_proj = nn.Linear(dims.d_model, k_width, bias=False)
        self.k_proj = nn.Linear(dims.d_model, k_width, bias=False)
        self.v_proj = nn.Linear(dims.d_model, v_width, bias=False)
        self.gate_proj = nn.Linear(dims.d_model, v_width, bias=False)
        self.decay_proj = nn.Linear(dims.d_model, dims.num_heads, bias=False)
        self.rate_proj = nn.Linear(dims.d_model, dims.num_heads, bias=False)
        self.o_proj = nn.Linear(v_width, dims.d_model, bias=False)
        self.convolution = ShortConvolution(site, sum(self.widths), convolution_width)
        self.norm = site.make_norm(value)
        self.decay_log = nn.Parameter(torch.empty(dims.num_heads))
        self.decay_bias = nn.Parameter(torch.empty(dims.num_heads))
        # For such small dt the inverse of softplus is the logarithm, to within 5 %.
        declare(self, decay_log=Between(0.0, math.log(16)), decay_bias=Between(math.log(0.001), math.log(0.1)))

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to the branch's contribution [B, T, D].

        Raises:
            ConfigError: processes share the sequence.
        """
        qkv = torch.cat([self.q_proj(x_BTD), self.k_proj(x_BTD), self.v_proj(x_BTD)], dim=-1)
        qkv = F.silu(self.convolution(qkv, ctx))
        q_BHTK, k_BHTK, v_BHTV = (split_heads(each, self.num_heads) for each in qkv.split(self.widths, dim=-1))
        log_decay_BTH, rate_BTH = self._gates(x_BTD, ctx.token_mask_BT)
        out_BHTV, state_BHKV = gated_delta_rule(
            _of_length_one(q_BHTK) * q_BHTK.shape[-1] ** -0.5,
            _of_length_one(k_BHTK),
            v_BHTV,
            log_decay_BTH.transpose(1, 2),
            rate_BTH.transpose(1, 2),
            ctx.state(self.site, "state"),
            starts_BT=ctx.mask.starts,
        )
        ctx.keep(self.site, "state", state_BHKV)
        gate_BHTV = split_heads(F.silu(self.gate_proj(x_BTD)), self.num_heads)
        out_BHTV = self.norm(out_BHTV.to(gate_BHTV.dtype)) * gate_BHTV
        return Output(self.o_proj(out_BHTV.transpose(1, 2).flatten(2)))

    def _gates(self, x_BTD: Tensor, real_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        """The logarithm of the decay and the rate of each head, [B, T, H] each; at padding both are 0."""
        dtype = torch.promote_types(x_BTD.dtype, torch.float32)
        steps = F.softplus(self.decay_proj(x_BTD).to(dtype) + self.decay_bias)
        log_decay, rate = -self.decay_log.to(dtype).exp() * steps, self.rate_proj(x_BTD).to(dtype).sigmoid()
        return (log_decay, rate) if real_BT is None else (log_decay * real_BT[..., None], rate * real_BT[..., None])


def _of_length_one(x: Tensor) -> Tensor:
    """Vectors of the last dimension divided by their length, in float32 at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x * (x.square().sum(dim=-1, keepdim=True) + 1e-6).rsqrt()
