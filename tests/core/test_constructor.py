from typing import Annotated, Any, Literal, NotRequired, TypedDict, Unpack

import pytest
from pydantic import Field

from lightning_tx.components.norm.base import NORM, Norm
from lightning_tx.core.constructor import constructor_problem, with_defaults
from lightning_tx.core.errors import PluginError
from lightning_tx.core.schema import options_of

Rate = Annotated[float, Field(default=0.5, ge=0, lt=1)]


class Shared(TypedDict, total=False):
    rate: Rate
    kind: Annotated[Literal["round", "square"], Field(default="round")]
    limit: Annotated[Annotated[int, Field(gt=0)] | None, Field(default=None)]
    targets: Annotated[list[str], Field(default=["all"])]


class Other(Shared, total=False):
    """The same with another default."""

    rate: Annotated[Rate, Field(default=0.25)]


class Sized(TypedDict):
    size: Annotated[int, Field(gt=0)]
    bias: NotRequired[Annotated[bool, Field(default=False)]]


class Spelt(Norm):
    """The options one by one."""

    def __init__(
        self,
        width: int,
        *,
        own: int = 3,
        rate: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        kind: Literal["round", "square"] = "round",
        limit: Annotated[int, Field(gt=0)] | None = None,
        targets: list[str] = ["all"],  # noqa: B006
    ) -> None: ...


class Sharing(Norm):
    """The same options, all but the first from a ``TypedDict``."""

    def __init__(self, width: int, *, own: int = 3, **options: Unpack[Shared]) -> None:
        self.chosen = with_defaults(Shared, options)


class Inheriting(Sharing):
    """Has no constructor of its own."""


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes above in the group ``norm``, forgotten after the test."""
    NORM.names()
    monkeypatch.setattr(NORM, "_classes", dict(NORM._classes))
    for cls in (Spelt, Sharing, Inheriting):
        NORM.register(cls.__name__)(cls)


@pytest.mark.parametrize("cls", [Sharing, Inheriting])
def test_shared_options_are_as_if_spelt_out(cls: type) -> None:
    assert options_of(cls) == options_of(Spelt)
    for wrong in (
        {"rate": 1.0, "kind": "oval", "limit": 0, "targets": ["q", 2]},
        {"rate": "0.1", "limit": 3.0, "targets": "q", "own": None},
        {"raet": 0.1},
    ):
        expected = NORM.problems({"name": "Spelt"} | wrong)
        assert expected and NORM.problems({"name": cls.__name__} | wrong) == expected
    config = {"name": cls.__name__, "rate": 0, "limit": 2}
    assert NORM.parse(config).options == NORM.parse(config | {"name": "Spelt"}).options
    assert NORM.create(config, 7).chosen["limit"] == 2


def test_a_class_built_without_a_config_has_the_defaults_too() -> None:
    assert Sharing(7, kind="square").chosen == {"rate": 0.5, "kind": "square", "limit": None, "targets": ["all"]}
    Sharing(7).chosen["targets"].append("more")
    assert Sharing(7).chosen["targets"] == ["all"]


def test_it_takes_no_other_options() -> None:
    with pytest.raises(TypeError, match=r"'raet'.*Did you mean 'rate'\?.*kind, limit, rate, targets"):
        Sharing(7, raet=0.1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="size missing"):
        with_defaults(Sized, {})


def test_a_default_can_be_another_in_a_dict_that_inherits() -> None:
    assert with_defaults(Other, {}) == with_defaults(Shared, {}) | {"rate": 0.25}
    assert list(with_defaults(Other, {})) == list(with_defaults(Shared, {}))


def test_an_option_without_default_is_required() -> None:
    def constructor(self: Any, width: int, **options: Unpack[Sized]) -> None: ...

    cls = type("Mine", (), {"__init__": constructor})
    assert constructor_problem(cls, ["width"]) is None
    assert [(option.name, option.type, option.required) for option in options_of(cls)] == [
        ("size", "int > 0", True),
        ("bias", "bool", False),
    ]


class Nameless(TypedDict, total=False):
    name: Annotated[str, Field(default="x")]


class Open(TypedDict, total=False):
    size: int


def unannotated(self: Any, width: int, **options) -> None: ...  # type: ignore[no-untyped-def]
def any_keyword(self: Any, width: int, **options: Any) -> None: ...
def each_a_dict(self: Any, width: int, **options: Shared) -> None: ...
def twice(self: Any, width: int, *, rate: float = 0.1, **options: Unpack[Shared]) -> None: ...
def called_name(self: Any, width: int, **options: Unpack[Nameless]) -> None: ...
def without_default(self: Any, width: int, **options: Unpack[Open]) -> None: ...


@pytest.mark.parametrize(
    ("constructor", "words"),
    [
        (unannotated, r"takes \*\*options, which is no Unpack\["),
        (any_keyword, r"takes \*\*options, which is no Unpack\["),
        (each_a_dict, r"takes \*\*options, which is no Unpack\["),
        (twice, r"option 'rate' is a parameter and a field of Shared"),
        (called_name, r"an option may not be called 'name'"),
        (without_default, r"option 'size' of Open may be left out and has no default"),
    ],
)
def test_shared_options_must_follow_the_rule(constructor: Any, words: str) -> None:
    with pytest.raises(PluginError, match=rf"norm/mine .*{words}"):
        NORM.register("mine")(type("Mine", (Norm,), {"__init__": constructor}))
    assert "mine" not in NORM.names()
