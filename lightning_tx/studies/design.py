"""Designs: which combinations of levels a study trains.

A factor is a key that a study varies, its levels are the values that it takes; the first level of each factor is the
baseline. A design is a pure function from the levels of all factors, and the seeds, to rows. One function adds one,
here or in a plugin:

    from lightning_tx.studies.design import Row, design

    @design
    def baseline_only(factors, seeds):
        arm = {key: levels[0] for key, levels in factors.items()}
        return [Row(arm, seed) for seed in seeds]

The command line, or whoever asks for a design, decides in which order the rows are trained.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

from lightning_tx.core.errors import ConfigError, PluginError, choices, nearest


@dataclass(frozen=True)
class Row:
    """One run of a study.

    Attributes:
        arm: the level of every factor, by factor.
        seed: the seed.
    """

    arm: Mapping[str, Any]
    seed: Any


#: From the levels of each factor, in order, and the seeds, to rows. Levels and seeds are handed on as they are.
Design = Callable[[Mapping[str, Sequence[Any]], Sequence[Any]], list[Row]]
D = TypeVar("D", bound=Design)

_designs: dict[str, Design] = {}


def design(function: D) -> D:
    """Add a design under the name of its function.

    Raises:
        PluginError: another function has the name.
    """
    name = function.__name__
    taken = _designs.get(name)
    if taken is not None and taken.__module__ != function.__module__:
        raise PluginError(f"design={name} is claimed by {taken.__module__} and by {function.__module__}; rename yours.")
    _designs[name] = function
    return function


def names() -> list[str]:
    """The names of all designs, sorted."""
    return sorted(_designs)


def get(name: str) -> Design:
    """The design of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _designs:
        raise ConfigError(
            f"design: there is no design {name!r}.{nearest(name, _designs)} Designs: {choices(_designs)}."
        )
    return _designs[name]


@design
def grid(factors: Mapping[str, Sequence[Any]], seeds: Sequence[Any]) -> list[Row]:
    """Every combination of levels with every seed: a full factorial design."""
    arms = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    return [Row(arm, seed) for arm in arms for seed in seeds]
