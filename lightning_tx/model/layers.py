"""What the layers of one stack must agree on, and how they share their parameters."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from torch import nn

from lightning_tx.core.context import Sublayer
from lightning_tx.core.dims import Stack


def unfit(layers: Iterable[Any], stack: Stack) -> list[str]:
    """Why the blocks of a stack cannot follow one another, one sentence each."""
    problems: list[str] = []
    streams: dict[int, int] = {}
    carried: dict[str, tuple[int, tuple[int, ...]]] = {}
    for number, block in enumerate(layers):
        streams.setdefault(getattr(block, "num_streams", 1), number)
        sublayers = cast(dict[str, Sublayer], dict(getattr(block, "sublayers", {}).items()))
        for role, sublayer in sublayers.items():
            place = f"attention: {type(sublayer).__name__} at {stack}.{number}.{role}"
            if role == "feed_forward":
                place = place.replace("attention", role, 1)
            for name, sizes in sublayer.needs.items():
                if name not in carried:
                    problems.append(f"{place} needs {name!r} of an earlier layer, and none carries it.")
                elif carried[name][1] != sizes:
                    source, theirs = carried[name]
                    problems.append(
                        f"{place} needs {name!r} of the sizes {sizes}, and layer {source} carries {theirs}."
                    )
        for sublayer in sublayers.values():
            carried |= {name: (number, sizes) for name, sizes in sublayer.carries.items()}
    if len(streams) > 1:
        found = ", ".join(f"{number} in layer {layer}" for number, layer in streams.items())
        problems.append(f"block: the layers of a stack have as many residual streams, but the {stack}'s have {found}.")
    return problems


def share(layers: Sequence[nn.Module], number: int) -> list[str]:
    """Give each layer from ``number`` on the parameters of the one ``number`` before it; buffers stay its own.

    Returns:
        Why it cannot be done, for each pair of layers that have different parameters.
    """
    problems: list[str] = []
    for index, layer in enumerate(layers[number:], number):
        like = layers[index % number]
        own, theirs = ({name: value.shape for name, value in each.named_parameters()} for each in (layer, like))
        differing = sorted({name for name, _ in own.items() ^ theirs.items()})
        if differing:
            problems.append(
                f"model.share_layers: {number}, but layers {index % number} and {index} differ in the parameter "
                f"{differing[0]}."
            )
            continue
        for name, module in layer.named_modules():
            source = like.get_submodule(name)
            for parameter in module._parameters:
                module._parameters[parameter] = source._parameters[parameter]
    return problems
