from lightning_tx.components.feed_forward.base import FEED_FORWARD
from lightning_tx.core.context import Absent
from lightning_tx.core.dims import Dims, Site


@FEED_FORWARD.register("none")
class NoFeedForward(Absent):
    """No feed-forward: the layer is built without this sublayer."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__()
