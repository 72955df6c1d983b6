"""Components with one fault each, and the property that has to see it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lightning_tx.groups import GROUPS
from lightning_tx.testing.baseline import BASELINE, PARTS
from lightning_tx.testing.component import Component
from lightning_tx.testing.properties import PROPERTIES
from lightning_tx.testing.property import Property
from lightning_tx.testing.results import Failure
from lightning_tx.testing.subject import Subject

NAME = "planted"


@dataclass(frozen=True)
class Fault:
    """What is wrong, and which property notices."""

    property: str
    group: str
    component: type
    topology: str = "decoder"
    #: A word that the failure's text has to say.
    says: str = ""

    def __str__(self) -> str:
        return f"{self.component.__name__}-{self.property}"


@contextmanager
def planted(group: str, component: type) -> Iterator[dict[str, Any]]:
    """Register a component for the time being; gives its config."""
    GROUPS[group].names()
    GROUPS[group].register(NAME)(component)
    try:
        yield {"name": NAME}
    finally:
        GROUPS[group].forget([NAME])


def model_with(group: str, config: dict[str, Any], topology: str = "decoder", **parts: Any) -> Subject:
    """The model that a component is checked in."""
    chosen = {**BASELINE, **parts}
    if group in PARTS:
        chosen[group] = config
    return Subject(f"{group}/{config['name']}", {"name": topology}, chosen, group)


def property_named(name: str) -> Property:
    """The property of a name."""
    return next(each for each in PROPERTIES if each.name == name)


def seen(fault: Fault) -> Failure | None:
    """What the property says of a component with a fault."""
    with planted(fault.group, fault.component) as config:
        each = property_named(fault.property)
        assert each.concerns(fault.group, each.about), f"{fault.property} is not checked for {fault.group}"
        alone = Component(fault.group, NAME, config)
        return each.run(model_with(fault.group, config, fault.topology) if each.about == "model" else alone).failure


def check(fault: Fault) -> None:
    """Fail unless the property notices, and says what it saw."""
    failure = seen(fault)
    assert failure is not None, f"{fault.property} does not notice {fault.component.__name__}"
    assert fault.says in failure.seen, failure.seen
    assert (failure.usual_cause or failure.raised_at) and failure.what and NAME in failure.component


assert len(PROPERTIES) == len({each.name for each in PROPERTIES})
