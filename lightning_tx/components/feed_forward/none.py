from lightning_tx.core.context import Absent
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.registry import register


@register("feed_forward", "none")
class NoFeedForward(Absent):
    """No feed-forward: the layer is built without this sublayer."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__()
