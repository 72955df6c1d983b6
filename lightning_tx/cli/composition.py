"""Configs for many lists of choices that differ in places, composed by Hydra as seldom as possible.

Composing takes a fifteenth of a second. Where a choice fills a node of its own, the config of several such choices is
that of one list with the nodes of the others put in their places.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra.core.default_element import DefaultsTreeNode, ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from lightning_tx.cli.compose import CONFIG, composed
from lightning_tx.cli.translation import translated

#: Overrides that choose, in the order of the command line; those that a sweep varies stand at the same places in all.
Lines = tuple[str, ...]


@dataclass(frozen=True)
class Composition:
    """A config before any value is set.

    Attributes:
        config: unresolved, without Hydra's own part.
        choices: the label of each group.
    """

    config: DictConfig
    choices: dict[str, Any]

    @staticmethod
    def of(composed: DictConfig) -> "Composition":
        """A config that Hydra composed, its own part taken out."""
        chosen = dict(composed.hydra.runtime.choices)
        config = copy.deepcopy(composed)
        with open_dict(config):
            del config["hydra"]
        return Composition(config, chosen)


class Compositions:
    """What Hydra would compose, for lists of choices that differ from a first one; a session must be open.

    Args:
        first: the list that all others are compared with, as long as each of them.
    """

    def __init__(self, first: Lines) -> None:
        self.first = first
        self._whole = cache(self._compose)
        self._files = cache(self._list_files)

    def of(self, lines: Lines) -> Composition:
        """The composition of a list of choices; its config may be changed.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        # Choices with a say in more than their own node are taken as they are; the others are put into what these make.
        frame = tuple(
            old if self._own_node(self.first, place, new) else new
            for place, (old, new) in enumerate(zip(self.first, lines, strict=True))
        )
        changes = [(place, new) for place, new in enumerate(lines) if new != frame[place]]
        nodes = [self._own_node(frame, place, new) for place, new in changes]
        if not all(nodes):
            whole = self._whole(lines)
            return Composition(copy.deepcopy(whole.config), dict(whole.choices))
        base = self._whole(frame)
        config, chosen = copy.deepcopy(base.config), dict(base.choices)
        with open_dict(config):
            for (place, new), node in zip(changes, nodes, strict=True):
                other = self._whole(_changed(frame, place, new))
                config[node] = other.config[node]
                chosen[node] = other.choices[node]
        return Composition(config, chosen)

    def _own_node(self, frame: Lines, place: int, line: str) -> str:
        """The node, called like its group, that a choice decides and nothing besides; empty if there is none.

        There is one where the choice changes one file of all that are looked for, and that file fills this node alone.
        """
        group = line.partition("=")[0]
        if line == frame[place]:
            return group
        before, after = self._files(frame), self._files(_changed(frame, place, line))
        if len(before) != len(after):
            return ""
        different = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        if len(different) != 1:
            return ""
        old, new = different[0]
        is_own = all(file.package == group and str(file.config_path).startswith(f"{group}/") for file in (old, new))
        return group if is_own and (old.parent, old.is_self) == (new.parent, new.is_self) else ""

    def _compose(self, lines: Lines) -> Composition:
        return Composition.of(composed(lines))

    def _list_files(self, lines: Lines) -> Sequence[ResultDefault]:
        """The files that are merged, in their order, each with the node that it fills; then those that may be missing.

        The latter, which are looked for by the labels of others, are found for some combinations alone.
        """
        loader = GlobalHydra.instance().config_loader()
        with translated():
            found = loader.compute_defaults_list(CONFIG, list(lines), RunMode.RUN)
        return [*found.defaults, *map(ResultDefault, _missing(found.defaults_tree))]


def _missing(tree: DefaultsTreeNode) -> Iterator[str]:
    """The paths of files that a list of defaults calls optional, and that do not exist."""
    for child in tree.children or ():
        if isinstance(child, DefaultsTreeNode):
            yield from _missing(child)
        elif child.is_deleted():
            yield child.get_config_path()


def _changed(lines: Lines, place: int, line: str) -> Lines:
    return (*lines[:place], line, *lines[place + 1 :])
