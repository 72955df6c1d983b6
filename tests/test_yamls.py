"""Every yaml chooses a registered component, and every component has a yaml that lists its options."""

import inspect
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lightning_tx.cli.compose import values_of
from lightning_tx.cli.session import hydra_session
from lightning_tx.core.description import summary
from lightning_tx.core.schema import options_of
from lightning_tx.groups import GROUPS

ROOT = Path(__file__).parents[1]


def components() -> list[tuple[str, str]]:
    """Every built-in component as group and name; what plugins register is theirs to test."""
    return [
        (group, name)
        for group in GROUPS
        for name in GROUPS[group].names()
        if GROUPS[group].get(name).__module__.startswith("lightning_tx.")
    ]


def yamls() -> list[Path]:
    return [path for group in GROUPS for path in sorted((ROOT / "conf" / group).glob("*.yaml"))]


@cache
def values(path: Path) -> dict[str, Any]:
    """A yaml's keys as OmegaConf reads them (1e-9 is a number to it and a string to PyYAML), with those it inherits."""
    own: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    if "defaults" not in own:
        return own
    with hydra_session():
        return values_of(path.parent.name, path.stem)


def open_keys(config: dict[str, Any]) -> set[str]:
    """Keys that the user or another yaml has to fill in."""
    return {key for key, value in config.items() if isinstance(value, str) and ("${" in value or value == "???")}


def test_there_are_components_and_yamls() -> None:
    assert ("positions", "rope") in components()
    assert ROOT / "conf" / "positions" / "rope.yaml" in yamls()


@pytest.mark.parametrize("path", yamls(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_yaml_is_a_valid_choice_of_a_registered_component(path: Path) -> None:
    config = values(path)
    filled = {key: value for key, value in config.items() if key not in open_keys(config)}
    allowed = tuple(f"{path.parent.name}.{key}: missing" for key in open_keys(config))
    assert [problem for problem in GROUPS[path.parent.name].problems(filled) if not problem.startswith(allowed)] == []


@pytest.mark.parametrize(("group", "name"), components(), ids=lambda part: part)
def test_a_component_has_a_yaml_that_lists_every_option(group: str, name: str) -> None:
    named = [path for path in yamls() if path.parent.name == group and values(path).get("name") == name]
    options = {option.name for option in options_of(GROUPS[group].get(name))}
    assert named, f"no yaml in conf/{group} names {name!r}"
    for path in named:
        # A preset of another label may leave options at their default.
        if path.stem == name:
            assert values(path).keys() - {"name"} == options
        assert values(path).keys() - {"name"} <= options


@pytest.mark.parametrize(("group", "name"), components(), ids=lambda part: part)
def test_a_component_of_a_yamls_label_has_that_yamls_values_as_defaults(group: str, name: str) -> None:
    path = ROOT / "conf" / group / f"{name}.yaml"
    if not path.exists():
        pytest.skip("all yamls of this component are presets")
    config = values(path)
    defaults = {option.name: option.default for option in options_of(GROUPS[group].get(name)) if not option.required}
    assert {key: config[key] for key in defaults if key not in open_keys(config)} == {
        key: default for key, default in defaults.items() if key not in open_keys(config)
    }


@pytest.mark.parametrize(("group", "name"), components(), ids=lambda part: part)
def test_a_component_describes_itself(group: str, name: str) -> None:
    cls = GROUPS[group].get(name)
    assert "__doc__" in vars(cls)
    assert summary(cls).strip().endswith("."), inspect.getdoc(cls)
