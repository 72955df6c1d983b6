"""Other values of a component's options: what the annotations allow besides what is chosen."""

import random
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lightning_tx.core.constructor import option_parameters
from lightning_tx.core.schema import options_of
from lightning_tx.groups import GROUPS
from lightning_tx.testing.baseline import Config
from lightning_tx.testing.declared import noise_options


def complete(group: str, config: Config) -> dict[str, Any]:
    """A config with the defaults of the options that it leaves out."""
    defaults = {
        option.name: option.default for option in options_of(GROUPS[group].get(config["name"])) if not option.required
    }
    return {"name": config["name"], **defaults, **config}


def variations(group: str, config: Config, names: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Other valid values of each option, nearest first; none for an option of which no other value is known.

    Args:
        group: the group.
        config: name and options.
        names: words that a list or a mapping of text may be made of.
    """
    full = complete(group, config)
    found: dict[str, list[Any]] = {}
    for option in option_parameters(GROUPS[group].get(config["name"])):
        now = full.get(option.name)
        others = [
            value for value in _values(option.annotation, now, names) if value != now or type(value) is not type(now)
        ]
        found[option.name] = [value for value in others if not GROUPS[group].problems({**config, option.name: value})]
    return found


def each_changed(group: str, config: Config, values: int | None = None) -> list[Config]:
    """The config, and for each option the config with another value of it, for so many values or all that are known."""
    others = variations(group, config)
    return [config, *({**config, name: value} for name, known in others.items() for value in known[:values])]


def varied(group: str, config: Config, generator: random.Random, *, numbers: bool) -> Config:
    """A config in which about every second option has another value; probabilities of noise stay.

    Args:
        group: the group.
        config: name and options.
        generator: draws.
        numbers: whether numbers change too, and not only what is chosen from a few words or from yes and no.
    """
    noise = noise_options(GROUPS[group].get(config["name"]))
    drawn = {
        name: generator.choice(values[:2])
        for name, values in variations(group, config).items()
        if values
        and name not in noise
        and generator.random() < 0.5
        and (numbers or all(isinstance(value, bool | str) for value in values))
    }
    return {**config, **drawn}


def _values(annotation: Any, now: Any, names: Sequence[str]) -> Iterator[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _values(arguments[0], now, names)
    elif origin in (Union, UnionType):
        for each in arguments:
            yield from _values(each, now, names)
    elif origin is Literal:
        yield from arguments
    elif origin in (list, dict):
        for name in names if arguments[0] is str else ():
            if origin is list:
                yield [name]
            yield from ({name: item} for item in (_values(arguments[-1], None, names) if origin is dict else ()))
    elif annotation in (None, NoneType):
        yield None
    elif annotation is bool:
        yield from (True, False)
    elif annotation is int:
        yield from (now * 2, now + 1, now // 2) if type(now) is int else ()
        yield from (4, 2, 8, 3, 1, 0, 4096)
    elif annotation is float:
        yield from (now * 2, now / 2) if isinstance(now, int | float) and now else ()
        yield from (0.5, 0.25, 1.0, 2.0, 0.0)
