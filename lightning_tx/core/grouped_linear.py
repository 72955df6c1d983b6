"""Several linear layers of one shape, each for rows of its own: what experts are made of."""

import torch
from torch import Tensor, nn


class GroupedLinear(nn.Module):
    """``num_groups`` linear layers whose weights lie in one tensor; each maps the rows that belong to its group.

    Attributes:
        weight: [E, out, in].
        bias: [E, out], or None.
    """

    def __init__(self, num_groups: int, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.num_groups, self.in_features, self.out_features = num_groups, in_features, out_features
        self.weight = nn.Parameter(torch.zeros(num_groups, out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(num_groups, out_features)) if bias else None

    def forward(self, x_NI: Tensor, counts_E: Tensor) -> Tensor:
        """Rows [N, in], sorted by group, to [N, out]; ``counts_E`` says how many rows each group has, N together."""
        pieces = []
        for group, rows in enumerate(x_NI.split(counts_E.tolist())):
            piece = rows @ self.weight[group].T
            pieces.append(piece if self.bias is None else piece + self.bias[group])
        return torch.cat(pieces)
