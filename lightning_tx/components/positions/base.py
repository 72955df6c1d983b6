"""The interface of the group ``positions``."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.group import Group


class Positions(nn.Module):
    """Where the order of tokens enters a model. One instance a stack; every hook is always called.

    Where overrides choose others for some layers, these have one instance a stack as well, whose rotation and bias take
    the place of the stack's in those layers; what is added to the embedding stays the stack's.

    A component overrides the hooks it needs. Positions are integers from 0, [B, T] or [1, T]; they start again at 0
    in every packed document and do not count padding.

    Attributes:
        tells_order: whether the order of tokens shows by them; False for the choice that leaves it out.
        bias_is_relative: whether an entry of the bias depends on the difference of its two positions alone, so that
            kernels may ask for one block in place of others as far apart.
        max_positions: number of positions there are, 0 to ``max_positions - 1``; None where they go on for ever.
    """

    tells_order: ClassVar[bool] = True
    bias_is_relative: ClassVar[bool] = True
    max_positions: int | None = None

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__()

    def embed(self, x_BTD: Tensor, positions_BT: Tensor) -> Tensor:
        """Add to the embedded tokens what is known of their positions."""
        return x_BTD

    def rotate(self, x_BHTK: Tensor, positions_BT: Tensor) -> Tensor:
        """Turn queries or keys by their positions; latent attention calls it on a width of its own."""
        return x_BHTK

    def rotation(self, positions_BT: Tensor) -> Callable[[Tensor], Tensor]:
        """:meth:`rotate` for all layers of one forward pass; a component may keep in it what they share."""
        return lambda x_BHTK: self.rotate(x_BHTK, positions_BT)

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """What to add to the attention scores; None for nothing.

        Args:
            q_positions: [..., t, 1].
            k_positions: [..., 1, s].

        Returns:
            [..., H, t, s] or None. Kernels may ask block by block, so an entry depends on its two positions alone; on
            their difference alone, unless ``bias_is_relative`` is False.
        """
        return None


POSITIONS = Group("positions", Positions, __package__, gives=("dims", "site"))
