"""The interface of the group ``norm``."""

from torch import Tensor, nn

from lightning_tx.core.group import Group


class Norm(nn.Module):
    """Normalises the last dimension, of the given width.

    Every norm of the project takes its ``eps`` explicitly and with the same default, so that an ablation of norms is
    not one of eps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to [..., width]."""
        return x


NORM = Group("norm", Norm, __package__, gives=("width",))
