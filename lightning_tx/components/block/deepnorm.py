from collections.abc import Callable
from typing import Unpack

from torch import Tensor, nn

from lightning_tx.components.block.base import BLOCK, Block, BlockOptions, Branch, is_matrix_of
from lightning_tx.core.context import Sublayer
from lightning_tx.core.dims import Dims, Site

#: Layers whose matrices start smaller. Those of queries and keys do not.
_SCALED = ("v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@BLOCK.register("deepnorm")
class DeepNorm(Block):
    """``Norm(alpha · x + Dropout(Sublayer(x)))``: post-norm that stays stable in very deep stacks.

    With N encoder and M decoder layers, the residual's factor alpha and the gain beta of the initial weights are

    | model           | encoder's alpha       | encoder's beta         | decoder's alpha | decoder's beta |
    | --------------- | --------------------- | ---------------------- | --------------- | -------------- |
    | encoder         | (2N)^(1/4)            | (8N)^(-1/4)            |                 |                |
    | decoder         |                       |                        | (2M)^(1/4)      | (8M)^(-1/4)    |
    | encoder_decoder | 0.81 (N^4 M)^(1/16)   | 0.87 (N^4 M)^(-1/16)   | (3M)^(1/4)      | (12M)^(-1/4)   |

    beta multiplies the initial values of the value and output projections and of the feed-forward's matrices. The
    paper draws these with Xavier's standard deviation times beta, ``beta · sqrt(2 / (inputs + outputs))``; here it is
    beta times the model's own, by default ``1 / sqrt(inputs)``. That is the same for square matrices; with
    ``d_ff = 4 · d_model`` the feed-forward's first matrix starts 1.58 times and its last 0.79 times as large.

    Source: Wang et al. 2022, arXiv:2203.00555, figure 2.
    """

    needs_final_norm = False

    def __init__(
        self,
        dims: Dims,
        site: Site,
        sublayers: dict[str, Sublayer],
        make_norm: Callable[[int], nn.Module],
        **options: Unpack[BlockOptions],
    ) -> None:
        super().__init__(dims, site, sublayers, make_norm, **options)
        self.alpha, self.beta = alpha_beta(dims, site)

    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """``norm(alpha · x + branch(x))``."""
        return self.norms[role](self.alpha * x_BTD + branch(x_BTD))

    def init_gain(self, parameter: str) -> float:
        """``beta`` for the matrices whose size bounds a layer's update, 1 for the others."""
        return self.beta if is_matrix_of(parameter, _SCALED) else 1.0


def alpha_beta(dims: Dims, site: Site) -> tuple[float, float]:
    """The residual's factor and the gain of the initial weights, for a stack of a model of these depths."""
    n, m = dims.encoder_layers, dims.decoder_layers
    if not n or not m:
        return (2 * (n + m)) ** 0.25, (8 * (n + m)) ** -0.25
    if site.stack == "decoder":
        return (3 * m) ** 0.25, (12 * m) ** -0.25
    return 0.81 * (n**4 * m) ** (1 / 16), 0.87 * (n**4 * m) ** (-1 / 16)
