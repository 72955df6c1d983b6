import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.positions.base import POSITIONS, Positions
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Normal, declare


@POSITIONS.register("t5_relative")
class T5Relative(Positions):
    """A trained bias on the scores for each head and bucket of distances, shared by all layers of the stack.

    Half of the buckets hold one distance each, the others grow logarithmically up to ``max_distance``, and the last
    holds everything beyond. A decoder has buckets for the past alone; an encoder spends half of them on each side.

    Source: Raffel et al. 2020, arXiv:1910.10683, section 2.1.

    Args:
        num_buckets: buckets in all.
        max_distance: distance from which on all share the last bucket.
        std: standard deviation at initialisation; null for ``d_model^-0.5``.

    Raises:
        ConfigError: ``max_distance`` lies among the distances that have a bucket each.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        num_buckets: Annotated[int, Field(ge=4, multiple_of=2)] = 32,
        max_distance: Annotated[int, Field(gt=0)] = 128,
        std: Annotated[float, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__(dims, site)
        self.causal = site.causal
        self.num_sided = num_buckets if site.causal else num_buckets // 2
        self.num_exact = self.num_sided // 2
        self.max_distance = max_distance
        if max_distance <= self.num_exact:
            raise ConfigError(
                f"positions.max_distance: {max_distance} is not above {self.num_exact}, the distances that have a "
                f"bucket each (positions.num_buckets = {num_buckets}, {site.stack})."
            )
        self.embedding = nn.Embedding(num_buckets, dims.num_heads)
        declare(self.embedding, weight=Normal(dims.d_model**-0.5 if std is None else std))

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """The trained bias of each pair's bucket, [..., H, t, s]."""
        bias = self.embedding(self.buckets(q_positions, k_positions)).movedim(-1, -3)
        return bias.contiguous()  # a GPU's kernels refuse a bias whose last dimension is not adjacent in memory

    def buckets(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """The bucket of each pair, [..., t, s]; in a causal stack the future falls into that of distance 0."""
        ahead = k_positions - q_positions
        distance = (-ahead).clamp(min=0) if self.causal else ahead.abs()
        growth = (distance.clamp(min=self.num_exact).float() / self.num_exact).log()
        share = growth / math.log(self.max_distance / self.num_exact)
        coarse = self.num_exact + (share * (self.num_sided - self.num_exact)).long()
        coarse = coarse.clamp(max=self.num_sided - 1)
        bucket = torch.where(distance < self.num_exact, distance, coarse)
        return bucket if self.causal else bucket + (ahead > 0) * self.num_sided
