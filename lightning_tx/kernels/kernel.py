"""A way to compute attention, and the case that it is asked to compute."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from lightning_tx.kernels.masks import BiasFunction, Mask
from lightning_tx.kernels.scores import Scores


@dataclass(slots=True, eq=False)
class Case:
    """One call of attention: the arguments of :func:`lightning_tx.kernels.attend.attend`, none of them left open.

    Attributes:
        q: queries, [B, H, T, K].
        k: keys, [B, G, S, K].
        v: values, [B, G, S, K].
        mask: which of these keys each query may attend to.
        bias: added to the scaled scores before the softmax.
        prefix: keys [B or 1, G, P, K] and values that every query sees besides, without mask or bias.
        scale: factor on the scores.
        dropout: probability of dropping an attention weight.
        scores: what happens to the scaled scores before bias and softmax.
        bias_is_relative: whether an entry of the bias depends on the difference of its two positions alone.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Mask
    bias: BiasFunction | None
    prefix: tuple[Tensor, Tensor] | None
    scale: float
    dropout: float
    scores: Scores | None = None
    bias_is_relative: bool = True
    _added: Tensor | None = field(default=None, init=False, repr=False)
    _asked: bool = field(default=False, init=False, repr=False)

    @property
    def added(self) -> Tensor | None:
        """The bias of all pairs, [B or 1, H, T, S]; None where nothing is added.

        Computed when it is first asked for: what computes some pairs only must not ask.
        """
        if not self._asked:
            self._asked = True
            if self.bias is not None:
                self._added = self.bias(self.mask.q_positions[:, :, None], self.mask.k_positions[:, None, :])
        return self._added


@dataclass(frozen=True)
class Kernel:
    """A row of the table that :mod:`lightning_tx.kernels.attend` chooses from.

    Attributes:
        name: what :func:`lightning_tx.kernels.attend.kernel_for` calls it.
        applies: whether it computes a case, unless a row above does. Asked in every call, so it is cheap.
        run: computes a case, [B, H, T, K]; zeros for queries that may attend to nothing.
    """

    name: str
    applies: Callable[[Case], bool]
    run: Callable[[Case], Tensor]


def with_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values [B, G, S, K] repeated for the query heads that share them, [B, H, S, K]."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)
