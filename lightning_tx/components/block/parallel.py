from collections.abc import Iterable, Mapping

from torch import Tensor

from lightning_tx.components.block.base import BLOCK, Block, Branch, writes_to_residual


@BLOCK.register("parallel")
class Parallel(Block):
    """``x + Attention(Norm(x)) + FeedForward(Norm(x))``: all sublayers read the same normed states, side by side.

    A layer has one norm, and one more follows the last layer. In a decoder with an encoder, cross-attention stands
    beside the other two: ``x + SelfAttention(n) + CrossAttention(n) + FeedForward(n)`` with ``n = Norm(x)``, so that
    what a layer reads of the source reaches its feed-forward in the next layer only. What is written to the residual
    stream starts smaller by the square root of the number of writes, as in pre_norm.

    Source: Wang and Komatsuzaki 2021 (GPT-J); Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, section 2.
    """

    needs_final_norm = True

    def norm_names(self, roles: list[str]) -> Iterable[str]:
        """One, ``shared``, where there is a sublayer to read it."""
        return ["shared"] if roles else []

    def layer(self, x_BTD: Tensor, branches: Mapping[str, Branch]) -> Tensor:
        """``x`` and the sum of ``branch(norm(x))``."""
        if not branches:
            return x_BTD
        normed_BTD = self.norms["shared"](x_BTD)
        return x_BTD + sum(branch(normed_BTD) for branch in branches.values())

    def init_gain(self, parameter: str) -> float:
        """``1 / sqrt(sublayers of the whole stack)`` for matrices that write to the residual stream."""
        return (len(self.sublayers) * self.depth) ** -0.5 if writes_to_residual(parameter) else 1.0
