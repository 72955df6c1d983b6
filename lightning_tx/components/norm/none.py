from lightning_tx.components.norm.base import Norm
from lightning_tx.core.registry import register


@register("norm", "none")
class NoNorm(Norm):
    """No normalisation."""
