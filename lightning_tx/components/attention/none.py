from lightning_tx.components.attention.base import ATTENTION
from lightning_tx.core.context import Absent
from lightning_tx.core.dims import Dims, Site


@ATTENTION.register("none")
class NoAttention(Absent):
    """No attention: the layer is built without this sublayer."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__()
