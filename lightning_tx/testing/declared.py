"""What a component says of itself so that a property asks of it what it promises: class attributes, all optional.

``noise_options: tuple[str, ...]``
    Options that make training random, and nothing at 0. Those called ``dropout`` or ``…_dropout`` need no saying.
``exact_gradient: bool``
    False where the gradient is another than the derivative on purpose, as that of a straight-through estimator.
``trains_as_evaluated: bool``
    False, on the class or an instance, where training computes something else than evaluation without any noise too,
    as a mixture of experts of limited capacity.
``relative: bool``
    False where a shift of all positions moves states. Positions that add to the embedding, or that say that their bias
    is not relative, need not say it.
``dropout_keeps_the_mean: bool``
    False where what its dropout leaves passes a norm or the like, whose mean is another.
"""

from collections.abc import Iterable

from torch import nn

from lightning_tx.components.positions.base import Positions
from lightning_tx.core.schema import options_of


def noise_options(component: type) -> list[str]:
    """The options of a component that are probabilities of noise in training."""
    declared = getattr(component, "noise_options", ())
    return [
        option.name
        for option in options_of(component)
        if option.name in declared or option.name == "dropout" or option.name.endswith("_dropout")
    ]


def exact_gradient(modules: Iterable[nn.Module]) -> bool:
    """Whether autograd's gradient is to be the derivative."""
    return all(getattr(module, "exact_gradient", True) for module in modules)


def trains_as_evaluated(modules: Iterable[nn.Module]) -> bool:
    """Whether a forward pass without noise is the same in training and in evaluation."""
    return all(getattr(module, "trains_as_evaluated", True) for module in modules)


def relative(modules: Iterable[nn.Module]) -> bool:
    """Whether positions are to be felt by their differences alone."""
    return all(getattr(module, "relative", not _is_absolute(module)) for module in modules)


def dropout_keeps_the_mean(modules: Iterable[nn.Module]) -> bool:
    """Whether dropout leaves the mean of the values as it is."""
    return all(getattr(module, "dropout_keeps_the_mean", True) for module in modules)


def _is_absolute(module: nn.Module) -> bool:
    if not isinstance(module, Positions):
        return False
    return type(module).embed is not Positions.embed or not module.bias_is_relative
