"""The interface of the group ``block``."""

from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Annotated, ClassVar, TypedDict, Unpack

from pydantic import Field
from torch import Tensor, nn

from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.context import Context, Output, Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.group import Group
from lightning_tx.kernels.dropout import Dropout, RowDropout

Branch = Callable[[Tensor], Tensor]


class BlockOptions(TypedDict, total=False):
    """What any block may do whose layers can be left out.

    Args:
        stochastic_depth: probability of leaving out a residual branch of the last layer, drawn in training for each
            row and branch; it grows linearly from the first layer on, ``l / L`` of it in layer l of L. What stays is
            divided by the probability to stay, so that evaluation has nothing to rescale. Nothing is saved by it: the
            branch is computed, and its auxiliary losses count. Huang et al. 2016, arXiv:1603.09382, section 3.
    """

    stochastic_depth: Annotated[float, Field(default=0.0, ge=0, lt=1)]


class Block(nn.Module):
    """One layer: runs its sublayers and owns how residuals and norms are placed, nothing else.

    It is given ready-made sublayers by role (``self_attention``, ``cross_attention``, ``feed_forward``; those that
    exist, in this order). A component writes :meth:`residual`, the step of one sublayer, or :meth:`layer` where they
    do not run one after the other, and says in :meth:`norm_names` which norms it has; a norm that it never calls is
    not to be there.

    Between the layers run ``num_streams`` residual streams, [B, T, N, D] where they are several: the stack's first
    block makes them of its states (:meth:`enter`) and the last one makes states of them again (:meth:`leave`).

    Attributes:
        noise_options: options that make training random, and nothing at 0.
        needs_final_norm: whether the stack must normalise what comes out of its last block.
        num_streams: residual streams between layers (N), in all blocks of a stack alike.
        sublayers: the sublayers by role.
        norms: the norms by name.
        depth: number of layers in the stack.
    """

    noise_options: ClassVar[tuple[str, ...]] = ("stochastic_depth",)
    needs_final_norm: ClassVar[bool]
    num_streams: int = 1

    def __init__(
        self,
        dims: Dims,
        site: Site,
        sublayers: dict[str, Sublayer],
        make_norm: Callable[[int], nn.Module],
        **options: Unpack[BlockOptions],
    ) -> None:
        super().__init__()
        self.depth = site.depth
        self.sublayers = nn.ModuleDict(sublayers)
        self.norms = nn.ModuleDict({name: make_norm(dims.d_model) for name in self.norm_names(list(sublayers))})
        self.dropout = Dropout(dims.dropout)
        last: float = with_defaults(BlockOptions, options)["stochastic_depth"]
        self.stochastic_depth = RowDropout(last * (site.layer + 1) / site.depth)

    def norm_names(self, roles: list[str]) -> Iterable[str]:
        """The norms of a block with these sublayers: one for each, called like it, unless told otherwise."""
        return roles

    @abstractmethod
    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """The step of one sublayer: combine the states with ``branch`` and its norms.

        The branch is the sublayer, then :meth:`contribution`.
        """

    def layer(self, x_BTD: Tensor, branches: Mapping[str, Branch]) -> Tensor:
        """The states after all sublayers: their steps, one after the other, unless told otherwise."""
        for role, branch in branches.items():
            x_BTD = self.residual(x_BTD, role, branch)
        return x_BTD

    def contribution(self, y_BTD: Tensor, role: str) -> Tensor:
        """What a sublayer's output passes before it joins the residual stream: dropout, unless told otherwise."""
        return self.dropout(y_BTD)

    def enter(self, x_BTD: Tensor) -> Tensor:
        """The residual streams before the first layer: the states, unless told otherwise."""
        return x_BTD

    def leave(self, x: Tensor) -> Tensor:
        """The states [B, T, D] of the residual streams after the last layer; as :meth:`enter`."""
        return x

    def inputs(self, x_BTD: Tensor, role: str, ctx: Context) -> Tensor:
        """What a sublayer reads of the states that its branch is called with: those, unless told otherwise."""
        return x_BTD

    def init_gain(self, parameter: str) -> float:
        """Factor on the initial value of a parameter of this block, named as in its state dict."""
        return 1.0

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Run every sublayer on the states, [B, T, D] or as many streams, and collect what else they return."""
        outputs: list[Output] = []

        def run(role: str, sublayer: nn.Module) -> Branch:
            def branch(states: Tensor) -> Tensor:
                outputs.append(sublayer(self.inputs(states, role, ctx), ctx))
                return self.stochastic_depth(self.contribution(outputs[-1].x, role))

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
