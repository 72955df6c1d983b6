"""What a forward pass leaves behind on the modules it went through."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def tensors_on(module: nn.Module) -> dict[str, Tensor]:
    """The tensors that modules hold besides parameters and buffers, in lists and dicts too, by the class that does."""
    found: dict[str, Tensor] = {}
    for each in module.modules():
        for name, value in vars(each).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                found |= {f"{type(each).__name__}.{where}": tensor for where, tensor in _inside(value, name)}
    return found


def kept_by_forward(subject: Any) -> list[str]:
    """The attributes of a model that hold another tensor after a forward pass than before."""
    model = subject.random_model()
    before = tensors_on(model)
    subject.states(subject.ids, model=model)
    return [name for name, value in tensors_on(model).items() if before.get(name) is not value]


def _inside(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _inside(each, f"{name}[{key!r}]")
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _inside(each, f"{name}[{number}]")
