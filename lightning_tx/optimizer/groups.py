"""Which parameters weight decay applies to."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from lightning_tx.model.init import scheme_of


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: matrices and embeddings with decay, biases and gains without.

    Which is which is told by how they are initialised: biases and gains start constant, be there one for the layer or
    one for each of several experts. A shared parameter counts once, as it is met first.

    Source: Radford et al. 2018 (GPT), section 4.1.
    """
    decays = dict(_decays(model))
    groups = [
        {"params": [parameter for parameter in decays if decays[parameter]], "weight_decay": weight_decay},
        {"params": [parameter for parameter in decays if not decays[parameter]], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _decays(model: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                scheme = scheme_of(module, name)
                yield parameter, parameter.ndim >= 2 and (scheme is None or scheme.decays)
