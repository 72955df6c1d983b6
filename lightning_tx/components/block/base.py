"""The interface of the group ``block``."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.dropout import Dropout

Branch = Callable[[Tensor], Tensor]


class Block(nn.Module):
    """One layer: runs its sublayers in order and owns how residuals and norms are placed, nothing else.

    A component writes :meth:`residual`. It is given ready-made sublayers by role (``self_attention``,
    ``cross_attention``, ``feed_forward``; those that exist, in this order) and one norm a sublayer.

    Attributes:
        needs_final_norm: whether the stack must normalise what comes out of its last block.
    """

    needs_final_norm: ClassVar[bool]

    def __init__(
        self, dims: Dims, site: Site, sublayers: dict[str, Sublayer], make_norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.depth = site.depth
        self.sublayers = nn.ModuleDict(sublayers)
        self.norms = nn.ModuleDict({role: make_norm(dims.d_model) for role in sublayers})
        self.dropout = Dropout(dims.dropout)

    @abstractmethod
    def residual(self, x_BTD: Tensor, norm: nn.Module, branch: Branch) -> Tensor:
        """One sublayer's step: combine the states with ``branch`` (sublayer, then dropout) and its norm."""

    def init_gain(self, parameter: str) -> float:
        """Factor on the initial value of a parameter of this block, named as in its state dict."""
        return 1.0

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Run every sublayer on the states [B, T, D] and collect losses and stats."""
        outputs: list[Output] = []
        for role, sublayer in self.sublayers.items():

            def branch(states: Tensor, sublayer: nn.Module = sublayer) -> Tensor:
                outputs.append(sublayer(states, ctx))
                return self.dropout(outputs[-1].x)

            x_BTD = self.residual(x_BTD, self.norms[role], branch)
        return Output.gather(x_BTD, outputs)


def writes_to_residual(parameter: str) -> bool:
    """Whether a parameter is the last matrix of a sublayer."""
    return parameter.endswith(("o_proj.weight", "down_proj.weight"))
