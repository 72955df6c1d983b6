from lightning_tx.components.norm.base import NORM, Norm


@NORM.register("none")
class NoNorm(Norm):
    """No normalisation."""
