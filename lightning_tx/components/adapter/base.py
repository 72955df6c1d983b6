"""The interface of the group ``adapter``."""

from torch import Tensor, nn


class Adapter:
    """Decides what is trained on a model, and adds what it needs to do so.

    The framework applies the adapter once, after the base is initialised or loaded.
    """

    def __init__(self) -> None: ...

    def apply(self, model: nn.Module) -> nn.Module:
        """Freeze and extend the model in place; returns it.

        Raises:
            ConfigError: nothing in the model can take this adapter.
        """
        raise NotImplementedError

    def merge(self, model: nn.Module) -> nn.Module:
        """Fold the adapter into the base in place, so that the model is as fast as without; returns it."""
        raise NotImplementedError

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """The adapter's own parameters, by their names in the model."""
        raise NotImplementedError
