"""The interface of the group ``block``."""

from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.group import Group
from lightning_tx.kernels.dropout import Dropout

Branch = Callable[[Tensor], Tensor]


class Block(nn.Module):
    """One layer: runs its sublayers and owns how residuals and norms are placed, nothing else.

    It is given ready-made sublayers by role (``self_attention``, ``cross_attention``, ``feed_forward``; those that
    exist, in this order). A component writes :meth:`residual`, the step of one sublayer, or :meth:`layer` where they
    do not run one after the other, and says in :meth:`norm_names` which norms it has; a norm that it never calls is
    not to be there.

    Attributes:
        needs_final_norm: whether the stack must normalise what comes out of its last block.
        sublayers: the sublayers by role.
        norms: the norms by name.
        depth: number of layers in the stack.
    """

    needs_final_norm: ClassVar[bool]

    def __init__(
        self, dims: Dims, site: Site, sublayers: dict[str, Sublayer], make_norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.depth = site.depth
        self.sublayers = nn.ModuleDict(sublayers)
        self.norms = nn.ModuleDict({name: make_norm(dims.d_model) for name in self.norm_names(list(sublayers))})
        self.dropout = Dropout(dims.dropout)

    def norm_names(self, roles: list[str]) -> Iterable[str]:
        """The norms of a block with these sublayers: one for each, called like it, unless told otherwise."""
        return roles

    @abstractmethod
    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """The step of one sublayer: combine the states with ``branch`` (sublayer, then dropout) and its norms."""

    def layer(self, x_BTD: Tensor, branches: Mapping[str, Branch]) -> Tensor:
        """The states after all sublayers: their steps, one after the other, unless told otherwise."""
        for role, branch in branches.items():
            x_BTD = self.residual(x_BTD, role, branch)
        return x_BTD

    def inputs(self, x_BTD: Tensor, role: str, ctx: Context) -> Tensor:
        """What a sublayer reads of the states that its branch is called with: those, unless told otherwise."""
        return x_BTD

    def init_gain(self, parameter: str) -> float:
        """Factor on the initial value of a parameter of this block, named as in its state dict."""
        return 1.0

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Run every sublayer on the states [B, T, D] and collect losses and stats."""
        outputs: list[Output] = []

        def run(role: str, sublayer: nn.Module) -> Branch:
            def branch(states: Tensor) -> Tensor:
                outputs.append(sublayer(self.inputs(states, role, ctx), ctx))
                return self.dropout(outputs[-1].x)

            return branch

        branches = {role: run(role, sublayer) for role, sublayer in self.sublayers.items()}
        return Output.gather(self.layer(x_BTD, branches), outputs)


def is_matrix_of(parameter: str, layers: Container[str]) -> bool:
    """Whether a parameter, named as in a state dict, is the matrix of a layer with one of these names."""
    layer, _, kind = parameter.rpartition(".")
    return kind == "weight" and layer.rpartition(".")[2] in layers


def writes_to_residual(parameter: str) -> bool:
    """Whether a parameter is the last matrix of a sublayer."""
    return is_matrix_of(parameter, ("o_proj", "down_proj"))


BLOCK = Group("block", Block, __package__, gives=("dims", "site", "sublayers", "make_norm"))
