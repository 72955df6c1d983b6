"""Conformance as a test function."""

from collections.abc import Callable
from typing import Any

import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.groups import GROUPS
from lightning_tx.testing.component import Component
from lightning_tx.testing.property import Property
from lightning_tx.testing.results import ConformanceError
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.suite import cases


def conformance(component: str, **options: Any) -> Callable[..., None]:
    """A test function that checks every property of a component, one case a property and topology.

    >>> test_conforms = conformance("feed_forward/reglu")
    >>> test_conforms_with_bias = conformance("feed_forward/reglu", bias=True)

    Args:
        component: ``group/name``, as registered.
        options: options of the component that are not to have their defaults.

    Raises:
        ConfigError: there is no such component, or it has no such option.
    """
    group, _, name = component.partition("/")
    config = {"name": name, **options}
    problems = GROUPS[group].problems(config)
    if problems:
        raise ConfigError(problems)
    label = name + "".join(f" {key}={value}" for key, value in options.items())
    parameters = [
        pytest.param(each, subject, id=f"{each.name}-{_where(subject)}")
        for each, subject in cases(group, label, config)
    ]

    @pytest.mark.parametrize(("conformance_property", "conformance_subject"), parameters)
    def test_conforms(conformance_property: Property, conformance_subject: Subject | Component) -> None:
        result = conformance_property.run(conformance_subject)
        if result.failure is not None:
            raise ConformanceError(str(result.failure))
        if result.status == "skipped":
            pytest.skip(result.reason)

    return test_conforms


def _where(subject: Subject | Component) -> str:
    if isinstance(subject, Component):
        return subject.label.replace(" ", "-")
    device = "" if subject.device.type == "cpu" else f"-{subject.device}"
    return f"{subject.topology['name']}{device}"
