import torch
from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.components.adapter.base import Adapter
from lightning_tx.components.adapter.extension import Extension
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Constant


class ScaledLinear(Extension, nn.Linear):
    """A linear layer of the base whose outputs are multiplied by trained gains."""

    def extend(self) -> None:
        """Add the gains, which change nothing at the start."""
        self.gain = nn.Parameter(torch.ones_like(self.weight[:, 0]))
        self.declare(gain=Constant(1.0))

    def forward(self, x: Tensor) -> Tensor:
        """``gain · (W x + b)``."""
        return self.gain * super().forward(x)


@register("adapter", "my_component")
class MyComponent(Adapter):
    """Trains a gain for each output of the keys' and values' projections on a frozen base.

    Source: Liu et al. 2022, arXiv:2205.05638; the two gains in attention.
    """

    unmergeable = "my_component is not folded into the base: write merged() on its ScaledLinear."

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        """The projections with their gains."""
        linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        chosen = {name: linear for name, linear in linears.items() if name.endswith(("k_proj", "v_proj"))}
        if not chosen:
            raise ConfigError("adapter.name: my_component needs a k_proj or v_proj; this attention has none.")
        return {name: ScaledLinear.of(linear) for name, linear in chosen.items()}
