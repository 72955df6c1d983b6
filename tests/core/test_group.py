from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from lightning_tx import register
from lightning_tx.components.norm.base import NORM, Norm
from lightning_tx.core import group
from lightning_tx.core.errors import ConfigError, PluginError
from lightning_tx.core.group import load_plugins
from lightning_tx.core.schema import options_of
from lightning_tx.groups import group_named

TARGETS = ["all"]


class Part(Norm):
    """A component with options of every kind."""

    def __init__(
        self,
        width: int,
        *,
        size: Annotated[int, Field(gt=0)],
        rate: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        kind: Literal["round", "square"] = "round",
        limit: Annotated[int, Field(gt=0)] | None = None,
        bias: bool = False,
        targets: list[str] = TARGETS,
    ) -> None:
        super().__init__(width)
        self.size, self.rate, self.limit = size, rate, limit


@pytest.fixture(autouse=True)
def part(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The group ``norm`` with one more component, forgotten after the test."""
    NORM.names()
    monkeypatch.setattr(NORM, "_classes", dict(NORM._classes))
    register("norm", "part")(Part)
    yield
    group.load_plugins.cache_clear()


def installed(monkeypatch: pytest.MonkeyPatch, load: Callable[[], Any]) -> None:
    """Pretend that a plugin is installed whose import runs ``load``."""

    class Plugin:
        name, value = "my_plugin", "my_package.parts"

        def load(self) -> Any:
            return load()

    def entry_points(group: str) -> list[Any]:
        assert group == "lightning_tx.plugins"
        return [Plugin()]

    monkeypatch.setattr(group, "entry_points", entry_points)
    group.load_plugins.cache_clear()


def test_a_config_becomes_an_instance() -> None:
    built = NORM.create({"name": "part", "size": 3, "rate": 0}, 7)
    assert isinstance(built, Part)
    assert (built.width, built.size, built.rate, built.limit) == (7, 3, 0, None)


def test_the_signature_is_the_list_of_options() -> None:
    options = {option.name: option for option in options_of(Part)}
    assert list(options) == ["size", "rate", "kind", "limit", "bias", "targets"]
    assert options["size"].required
    assert not options["rate"].required
    assert (options["rate"].type, options["rate"].default) == ("float >= 0 < 1", 0.5)
    assert options["kind"].type == "round or square"
    assert options["limit"].type == "int > 0 or null"
    assert options["targets"].type == "list of str"


def test_defaults_are_filled_in() -> None:
    expected = {"size": 3, "rate": 0.5, "kind": "round", "limit": None, "bias": False, "targets": ["all"]}
    assert NORM.parse({"name": "part", "size": 3}).options == expected


def test_every_problem_is_reported_at_once() -> None:
    config = {
        "name": "part",
        "rate": 1.0,
        "kind": "oval",
        "limit": 0,
        "bias": 1,
        "targets": ["q", 2],
        "sise": 3,
        "colour": "red",
    }
    problems = {problem.split(":")[0]: problem for problem in NORM.problems(config)}
    assert set(problems) == {
        "norm.size",
        "norm.rate",
        "norm.kind",
        "norm.limit",
        "norm.bias",
        "norm.targets.1",
        "norm.sise",
        "norm.colour",
    }
    assert "missing" in problems["norm.size"]
    assert "1.0" in problems["norm.rate"]
    assert "less than 1" in problems["norm.rate"]
    assert "'oval'" in problems["norm.kind"]
    assert "'round'" in problems["norm.kind"]
    assert "Did you mean 'size'?" in problems["norm.sise"]
    assert "Did you mean" not in problems["norm.colour"]
    assert "bias, kind, limit, rate, size, targets" in problems["norm.colour"]
    with pytest.raises(ConfigError) as raised:
        NORM.create(config, 7)
    assert raised.value.problems == list(problems.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", "3"), ("size", 3.0), ("size", True), ("rate", "0.1"), ("bias", "true"), ("bias", 0), ("targets", "q")],
)
def test_types_are_strict(key: str, value: Any) -> None:
    (problem,) = NORM.problems({"name": "part", "size": 1} | {key: value})
    assert problem.startswith(f"norm.{key}: {value!r} ")


@pytest.mark.parametrize(("key", "value"), [("rate", 0), ("limit", None), ("limit", 3), ("targets", [])])
def test_what_fits_is_accepted(key: str, value: Any) -> None:
    assert NORM.problems({"name": "part", "size": 1, key: value}) == []


def test_an_unknown_name_is_answered_with_the_nearest_and_the_choices() -> None:
    with pytest.raises(ConfigError) as raised:
        NORM.get("rmsnrom")
    (problem,) = raised.value.problems
    assert problem.startswith("norm.name: ")
    assert "'rmsnrom'" in problem
    assert "Did you mean 'rmsnorm'?" in problem
    assert ", ".join(NORM.names()) in problem


@pytest.mark.parametrize("config", [{}, {"name": "rmsnrom"}, {"name": ["rmsnorm"]}, {"name": None}, "rmsnorm", None])
def test_a_config_that_names_nothing_is_reported_under_its_key(config: Any) -> None:
    (problem,) = NORM.problems(config, "model.overrides[0].norm")
    assert problem.startswith("model.overrides[0].norm")


def test_an_unknown_group_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"norms.*Did you mean 'norm'\?"):
        group_named("norms")
    with pytest.raises(PluginError, match=r"'norms'.*attention"):
        register("norms", "mine")


def test_a_second_claim_names_both() -> None:
    class Rival(Norm): ...

    with pytest.raises(PluginError) as raised:
        register("norm", "part")(Rival)
    assert f"{Part.__module__}.Part" in str(raised.value)
    assert f"{Rival.__module__}.{Rival.__qualname__}" in str(raised.value)
    assert "norm/part" in str(raised.value)
    assert NORM.get("part") is Part


def test_the_same_class_may_be_imported_again() -> None:
    again = type("Part", (Part,), {"__module__": Part.__module__, "__qualname__": Part.__qualname__})
    register("norm", "part")(again)
    assert NORM.get("part") is again


def any_keyword(self: Any, width: int, **options: Any) -> None: ...
def untyped(self: Any, width: int, *, size=3) -> None: ...  # type: ignore[no-untyped-def]
def called_name(self: Any, width: int, *, name: str = "x") -> None: ...


@pytest.mark.parametrize(
    ("constructor", "word"), [(any_keyword, "options"), (untyped, "'size'"), (called_name, "'name'")]
)
def test_a_constructor_must_follow_the_rule(constructor: Callable[..., None], word: str) -> None:
    with pytest.raises(PluginError, match=f"norm/mine .*{word}"):
        register("norm", "mine")(type("Mine", (), {"__init__": constructor}))
    assert "mine" not in NORM.names()


def test_a_plugin_registers_by_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, lambda: register("norm", "theirs")(type("Theirs", (Part,), {})))
    assert "theirs" in NORM.names()
    assert NORM.create({"name": "theirs", "size": 2}, 7).size == 2
    assert load_plugins() == ("my_plugin",)


def test_a_plugin_that_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise ImportError("no module named 'gone'")

    installed(monkeypatch, load)
    with pytest.raises(PluginError) as raised:
        NORM.names()
    assert all(word in str(raised.value) for word in ("'my_plugin'", "my_package.parts", "ImportError", "'gone'"))


def test_a_plugin_whose_package_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = EntryPoint(name="my_plugin", value="package_that_is_gone", group="lightning_tx.plugins")
    monkeypatch.setattr("lightning_tx.core.group.entry_points", lambda group: [plugin])
    group.load_plugins.cache_clear()
    with pytest.raises(PluginError, match=r"'my_plugin'.*ModuleNotFoundError"):
        NORM.get("rmsnorm")
