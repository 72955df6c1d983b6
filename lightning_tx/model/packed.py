"""Linear layers whose weights lie as the CPU's matrix kernels want them, for as long as they do not change."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import Tensor, nn

#: Multiplications of a call from which on packing gains; a packed layer takes some microseconds more to call.
WORTHWHILE = 2**18


@contextmanager
def packed_linears(model: nn.Module, rows: int) -> Iterator[None]:
    """Within it, the float32 linear layers on the CPU run from a packed copy of their weights, without gradients.

    Done for layers that ``rows`` vectors at a time, about, give enough to do.

    A kernel that packs the weights each time spends most of a decoding step on that. Results differ in the last bits
    from those of the layers' own ``forward``, which is back afterwards.
    """
    layers = [module for module in model.modules() if _packable(module, rows)]
    try:
        for layer in layers:
            vars(layer)["forward"] = _forward(layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _packable(layer: nn.Module, rows: int) -> TypeGuard[nn.Linear]:
    """Whether it is a linear layer that gains, and computes nothing besides."""
    if not isinstance(layer, nn.Linear) or type(layer).forward is not nn.Linear.forward:
        return False
    weight = layer.weight
    worthwhile = rows * weight.numel() >= WORTHWHILE
    return worthwhile and weight.device.type == "cpu" and weight.dtype == torch.float32 and _AVAILABLE


def _forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    packed, bias = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None), layer.bias
    linear = torch.ops.mkldnn._linear_pointwise.default

    def forward(x: Tensor) -> Tensor:
        return linear(x, packed, bias, "none", [], "")

    return forward


def _probe() -> bool:
    """Whether this build of torch has these operators, which are not part of its public interface."""
    layer, x = nn.Linear(3, 2), torch.ones(1, 1, 3)
    try:
        with torch.no_grad():
            return torch.allclose(_forward(layer)(x), layer(x), atol=1e-5)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False


with torch.random.fork_rng(devices=[]):  # importing draws nothing from the caller's generator
    _AVAILABLE = _probe()
