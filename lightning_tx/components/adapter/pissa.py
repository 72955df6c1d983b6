from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER
from lightning_tx.components.adapter.extension import Extension
from lightning_tx.components.adapter.low_rank import LowRank, LowRankGrouped, LowRankLinear
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Constant, declare
from lightning_tx.kernels.autocast import without_autocast
from lightning_tx.kernels.grouped_linear import grouped_linear


class FromPrincipal(Extension):
    """An update that starts as the largest singular values and vectors of the base's matrix, less what it starts as.

    The base is left as it is, so that several adapters can share it: ``W + scale · (B A - B₀ A₀)``, where the paper
    stores ``W - scale · B₀ A₀``. ``A₀`` and ``B₀``, kept beside A and B, are part of the adapter.
    """

    weight: Tensor
    lora_scale: float
    start_A: Tensor
    start_B: Tensor

    def keep_start(self, rank: int, like_A: Tensor, like_B: Tensor) -> None:
        """Make room for ``A₀`` and ``B₀``."""
        module: Any = self
        most = min(self.weight.shape[-2:])
        if rank > most:
            raise ConfigError(
                f"adapter.rank: {rank} is more than the {most} singular values of a matrix of "
                f"{' × '.join(map(str, self.weight.shape[-2:]))}."
            )
        module.register_buffer("start_A", torch.zeros_like(like_A, requires_grad=False))
        module.register_buffer("start_B", torch.zeros_like(like_B, requires_grad=False))

    @torch.no_grad()
    def decompose(self, lora_A: Tensor, lora_B: Tensor) -> None:
        """Set ``A = A₀`` and ``B = B₀`` by a singular value decomposition in float32 at least."""
        with without_autocast(self.weight.device):
            u, s, v = torch.linalg.svd(
                self.weight.to(torch.promote_types(self.weight.dtype, torch.float32)), full_matrices=False
            )
            rank = lora_A.shape[-2]
            root = (s[..., :rank] / self.lora_scale).sqrt()
            for A in (lora_A, self.start_A):
                A.copy_(root[..., :, None] * v[..., :rank, :])
            for B in (lora_B, self.start_B):
                B.copy_(u[..., :, :rank] * root[..., None, :])

    def less_start(self, weight: Tensor) -> Tensor:
        """``weight - scale · B₀ A₀``."""
        with torch.no_grad(), without_autocast(weight.device):
            return weight - self.lora_scale * (self.start_B.to(weight.dtype) @ self.start_A.to(weight.dtype))


class PissaLinear(FromPrincipal, LowRankLinear):
    """A linear layer, frozen, whose leading singular values and vectors are trained."""

    def extend(self, rank: int, scale: float, dropout: float) -> None:
        super().extend(rank, scale, dropout)
        self.keep_start(rank, self.lora_A, self.lora_B)
        self.declare(lora_A=Constant(0.0, decays=True), lora_B=Constant(0.0, decays=True))

    def update(self, x: Tensor) -> Tensor:
        """``scale · (B A dropout(x) - B₀ A₀ x)``, exactly zero at first."""
        return super().update(x) - F.linear(F.linear(x, self.start_A) * self.lora_scale, self.start_B)

    def start_from_base(self) -> None:
        """Set A and B by what the base holds now."""
        self.decompose(self.lora_A, self.lora_B)

    def updated_weight(self) -> Tensor:
        """``W + scale · (B A - B₀ A₀)`` in float32 at least."""
        return self.less_start(super().updated_weight())


class PissaGrouped(FromPrincipal, LowRankGrouped):
    """The same for each layer of a group, such as the experts of a mixture."""

    def extend(self, rank: int, scale: float, dropout: float) -> None:
        super().extend(rank, scale, dropout)
        self.keep_start(rank, self.lora_A.weight, self.lora_B.weight)
        for each in (self.lora_A, self.lora_B):
            declare(each, weight=Constant(0.0, decays=True))

    def update(self, x_NI: Tensor, counts_E: Tensor) -> Tensor:
        """``scale · (B A dropout(x) - B₀ A₀ x)``, exactly zero at first."""
        inner = grouped_linear(x_NI, self.start_A, counts_E) * self.lora_scale
        return super().update(x_NI, counts_E) - grouped_linear(inner, self.start_B, counts_E)

    def start_from_base(self) -> None:
        """Set A and B by what the base holds now."""
        self.decompose(self.lora_A.weight, self.lora_B.weight)

    def updated_weight(self) -> Tensor:
        """``W + scale · (B A - B₀ A₀)`` of each layer, [E, out, in], in float32 at least."""
        return self.less_start(super().updated_weight())


@ADAPTER.register("pissa")
class Pissa(LowRank):
    """Trains the largest singular values and vectors of chosen matrices; the rest of each stays as it is.

    A and B start so that ``(alpha / rank) · B A`` is the best approximation of the matrix at that rank. They are set
    when the base has its values, be they initial or another run's, and the adapted model starts as the base.

    Source: Meng et al. 2024, arXiv:2404.02948.

    Args:
        alpha: the update is scaled by ``alpha / rank``; in the paper alpha is the rank.

    Raises:
        ConfigError: the rank is larger than a matrix.
    """

    linear: ClassVar[type[LowRankLinear]] = PissaLinear
    grouped: ClassVar[type[LowRankGrouped]] = PissaGrouped

    def scale(self, rank: int, alpha: float) -> float:
        """``alpha / rank``."""
        return alpha / rank

    def start_from_base(self, model: nn.Module) -> None:
        """Decompose what the base holds."""
        for module in model.modules():
            if isinstance(module, PissaLinear | PissaGrouped):
                module.start_from_base()
