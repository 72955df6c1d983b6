import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER
from lightning_tx.components.adapter.low_rank import LowRank, LowRankGrouped, LowRankLinear
from lightning_tx.core.schemes import Constant


class DoraLinear(LowRankLinear):
    """A linear layer whose weight is ``m · V / |V|`` row by row, where ``V = W + scale · B A``.

    Trained with A and B is ``lora_magnitude``, by how much the lengths m differ from those of W: it starts at zero
    whatever the base holds.
    """

    exact_gradient = False  # the length |V| counts as a constant

    def extend(self, rank: int, scale: float, dropout: float) -> None:
        super().extend(rank, scale, dropout)
        self.lora_magnitude = nn.Parameter(self.weight.new_zeros(self.out_features))
        self.declare(lora_magnitude=Constant(0.0))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        y = super().forward(x)
        return _rescaled(y, _factor(self, super().updated_weight()), self.bias)

    def updated_weight(self) -> Tensor:
        """``m · V / |V|`` in float32 at least."""
        weight = super().updated_weight()
        return weight * _factor(self, weight).detach()[..., None]


class DoraGrouped(LowRankGrouped):
    """The same for each layer of a group, such as the experts of a mixture."""

    exact_gradient = False  # the length |V| counts as a constant

    def extend(self, rank: int, scale: float, dropout: float) -> None:
        super().extend(rank, scale, dropout)
        self.lora_magnitude = nn.Parameter(self.weight.new_zeros(self.num_groups, self.out_features))
        self.declare(lora_magnitude=Constant(0.0))

    def forward(self, x_NI: Tensor, counts_E: Tensor) -> Tensor:
        """Rows [N, in], sorted by group, to [N, out]."""
        y = super().forward(x_NI, counts_E)
        # Rows behind those of all groups belong to none: they come as zeros and stay zeros.
        rows = torch.arange(len(y), device=y.device)
        group_N = torch.searchsorted(counts_E.to(y.device).cumsum(0), rows, right=True)
        factor = F.pad(_factor(self, super().updated_weight()), (0, 0, 0, 1), value=1.0)
        return _rescaled(y, factor[group_N], None if self.bias is None else F.pad(self.bias, (0, 0, 0, 1))[group_N])

    def updated_weight(self) -> Tensor:
        """``m · V / |V|`` of each layer, [E, out, in], in float32 at least."""
        weight = super().updated_weight()
        return weight * _factor(self, weight).detach()[..., None]


@ADAPTER.register("dora")
class Dora(LowRank):
    """Trains the length of each row of chosen matrices apart from its direction, which has a low-rank update.

    The weight becomes ``m · V / |V|`` with ``V = W + (alpha / rank) · B A``. The length ``|V|`` counts as a constant in
    the gradient, which spares memory (section 4.3). Dropout falls on the input of A alone.

    Source: Liu et al. 2024, arXiv:2402.09353.

    Args:
        alpha: the update is scaled by ``alpha / rank``.
    """

    linear = DoraLinear
    grouped = DoraGrouped

    def scale(self, rank: int, alpha: float) -> float:
        """``alpha / rank``."""
        return alpha / rank


def _factor(layer: DoraLinear | DoraGrouped, updated: Tensor) -> Tensor:
    """``m / |V|`` for each row of V; the gradient reaches m alone."""
    with torch.no_grad():
        own = torch.linalg.vector_norm(layer.weight, dim=-1, dtype=updated.dtype)
        length = torch.linalg.vector_norm(updated, dim=-1)
    # A row of zeros stays one.
    return (own + layer.lora_magnitude) / length.clamp_min(torch.finfo(length.dtype).tiny)


def _rescaled(y: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
    """A layer's output with all but the bias multiplied by the factor."""
    factor = factor.to(y.dtype)
    return y * factor if bias is None else torch.addcmul((bias * (1 - factor)).to(y.dtype), y, factor)
