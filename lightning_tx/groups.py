"""Every group, once, in the order in which a run is described; looking at a name imports nothing.

>>> list(GROUPS)[:2]
['positions', 'attention']
>>> GROUPS["norm"].names()
['dynamic_tanh', 'layernorm', 'none', 'rmsnorm']
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from lightning_tx.core.errors import ConfigError, PluginError, choices, nearest
from lightning_tx.core.group import Group

T = TypeVar("T", bound=type)

#: Where the base class of each group stands, and beside it the group, which is called as it is, in capitals.
_HOMES = {
    "positions": "lightning_tx.components.positions.base",
    "attention": "lightning_tx.components.attention.base",
    "pattern": "lightning_tx.components.pattern.base",
    "norm": "lightning_tx.components.norm.base",
    "block": "lightning_tx.components.block.base",
    "feed_forward": "lightning_tx.components.feed_forward.base",
    "adapter": "lightning_tx.components.adapter.base",
    "model": "lightning_tx.model.body",
    "task": "lightning_tx.task.base",
    "data": "lightning_tx.data.base",
    "tokenizer": "lightning_tx.tokenizer.base",
    "optimizer": "lightning_tx.optimizer.base",
    "schedule": "lightning_tx.schedule.base",
    "decoding": "lightning_tx.decoding.base",
}


class _Groups(Mapping[str, Group[Any]]):
    def __getitem__(self, name: str) -> Group[Any]:
        return getattr(import_module(_HOMES[name]), name.upper())

    def __iter__(self) -> Iterator[str]:
        return iter(_HOMES)

    def __len__(self) -> int:
        return len(_HOMES)

    def __contains__(self, name: object) -> bool:
        return name in _HOMES  # a mapping's own would import the group to find out


#: The groups by name.
GROUPS: Mapping[str, Group[Any]] = _Groups()


def group_named(name: str) -> Group[Any]:
    """A group by its name.

    Raises:
        ConfigError: there is no such group.
    """
    if name not in GROUPS:
        raise ConfigError(f"{name}: there is no such group.{nearest(name, GROUPS)} Groups: {choices(GROUPS)}.")
    return GROUPS[name]


def register(group: str, name: str) -> Callable[[T], T]:
    """Class decorator that makes a component of a plugin selectable as ``group=name``; see :class:`Group`.

    Raises:
        PluginError: the group does not exist, or as :meth:`Group.register`.
    """
    if group not in GROUPS:
        raise PluginError(f"There is no group {group!r} to register {name!r} in. Groups: {choices(GROUPS)}.")
    return GROUPS[group].register(name)
