"""A component by itself, as properties look at it that need no model."""

import inspect
from dataclasses import dataclass

from lightning_tx.groups import GROUPS
from lightning_tx.testing.baseline import Config


@dataclass(frozen=True, eq=False)
class Component:
    """One component by itself.

    Attributes:
        group: its group.
        label: what it is called: its name, or that of a yaml.
        config: name and options.
    """

    group: str
    label: str
    config: Config

    @property
    def title(self) -> str:
        """``group/label``."""
        return f"{self.group}/{self.label}"

    @property
    def place(self) -> str:
        """Its config in one line."""
        return " ".join(f"{key}={value}" for key, value in self.config.items())

    @property
    def component(self) -> type:
        """The class."""
        return GROUPS[self.group].get(self.config["name"])

    @property
    def files(self) -> set[str]:
        """The source file of the component."""
        return {inspect.getfile(self.component)}

    @property
    def hint(self) -> str:
        """What else was noticed; nothing."""
        return ""
