import math
from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.attention.base import ATTENTION, Attention, AttentionOptions, Rotate, split_heads
from lightning_tx.core.context import KeyValueShape
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Normal, declare


@ATTENTION.register("differential")
class DifferentialAttention(Attention):
    """Heads that subtract one softmax from another, so that what both look at cancels out.

    A head has two queries and two keys of half its width and one value: ``(softmax(q₁ k₁ᵀ) - λ softmax(q₂ k₂ᵀ)) v``.
    The factor ``λ = exp(a₁ · b₁) - exp(a₂ · b₂) + λ₀`` is trained, one for all heads of a layer, and starts about
    ``λ₀ = 0.8 - 0.6 exp(-0.3 l)`` in layer l, counted from 0. Each head's difference passes a norm of the layer's kind
    (the paper's is RMSNorm) and is multiplied by ``1 - λ₀``.

    Source: Ye et al. 2024, arXiv:2410.05258, section 2.1.

    Args:
        bias: whether the projections have a bias.
        dropout: probability of dropping an attention weight in training, in each softmax by itself.

    Raises:
        ConfigError: ``head_dim`` is odd.
    """

    softmaxes = 2
    dropout_keeps_the_mean = False  # its norm comes after

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        bias: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        **options: Unpack[AttentionOptions],
    ) -> None:
        super().__init__(dims, site, dropout, **options)
        if dims.head_dim % 2:
            raise ConfigError(
                f"attention.name: differential halves a head's queries and keys, but model.head_dim is {dims.head_dim}."
                " Choices: an even number."
            )
        half, width = dims.head_dim // 2, dims.num_heads * dims.head_dim
        self.num_heads = dims.num_heads
        self.scale = half**-0.5
        self.kv_shape = KeyValueShape(2 * dims.num_heads, half, dims.head_dim)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dims.d_model, width, bias=bias) for _ in range(3))
        self.o_proj = nn.Linear(width, dims.d_model, bias=bias)
        self.head_norm = site.make_norm(dims.head_dim)
        self.start = 0.8 - 0.6 * math.exp(-0.3 * site.layer)
        self.lambda_q, self.lambda_k = (nn.Parameter(torch.empty(2, half)) for _ in range(2))
        declare(self, lambda_q=Normal(0.1), lambda_k=Normal(0.1))

    def queries(self, x_BTD: Tensor, rotate: Rotate) -> Tensor:
        """The two queries of each head next to each other, [B, 2H, T, K / 2]."""
        return rotate(split_heads(self.q_proj(x_BTD), 2 * self.num_heads))

    def keys_values(self, source_BSD: Tensor, rotate: Rotate) -> dict[str, Tensor]:
        """Rotated keys [B, 2H, S, K / 2] and values [B, H, S, K]."""
        return {
            "k": rotate(split_heads(self.k_proj(source_BSD), 2 * self.num_heads)),
            "v": split_heads(self.v_proj(source_BSD), self.num_heads),
        }

    def outputs(self, out_BHTK: Tensor, x_BTD: Tensor) -> Tensor:
        """The difference of each head's two softmaxes: [B, 2H, T, K] to [B, H, T, K]."""
        first, second = out_BHTK.unflatten(1, (self.num_heads, 2)).unbind(dim=2)
        plus, minus = (self.lambda_q * self.lambda_k).sum(dim=-1).exp()
        difference = first - (plus - minus + self.start).to(first.dtype) * second
        return super().outputs(self.head_norm(difference) * (1 - self.start), x_BTD)
