"""Tensors under the names that we give them."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from lightning_tx.core.errors import ConfigError


def renamed(
    state: Mapping[str, Tensor], rules: Sequence[tuple[str, str]], *, left_out: Sequence[str] = ()
) -> dict[str, Tensor]:
    """The tensors of a state by their new names.

    Args:
        state: tensors by name.
        rules: (pattern of a whole name, new name) with groups as in ``re``; the first that fits is taken.
        left_out: patterns of names that are dropped.

    Raises:
        ConfigError: naming every tensor that no pattern fits.
    """
    found: dict[str, Tensor] = {}
    problems = []
    for name, value in state.items():
        for pattern, ours in rules:
            match = re.fullmatch(pattern, name)
            if match:
                found[match.expand(ours)] = value
                break
        else:
            if not any(re.fullmatch(pattern, name) for pattern in left_out):
                problems.append(f"hf_weights.{name}: no part of our model has such a tensor.")
    if problems:
        raise ConfigError(problems)
    return found


def with_output(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with those of the output projection; where they are missing it shares the embedding's."""
    return {"lm_head.weight": weights["token_embedding.weight"]} | weights
