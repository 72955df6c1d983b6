from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER, Adapter


@ADAPTER.register("none")
class NoAdapter(Adapter):
    """No adapter: every parameter is trained."""

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        """Nothing."""
        return {}

    def apply(self, model: nn.Module) -> nn.Module:
        """The model as it is."""
        return model

    def merge(self, model: nn.Module) -> nn.Module:
        """The model as it is."""
        return model

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """Nothing."""
        return {}
