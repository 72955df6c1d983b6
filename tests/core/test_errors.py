import pytest

from lightning_tx.core.errors import ConfigError, LtxError, PluginError, choices, naming, nearest


def test_one_problem_is_said_as_it_is() -> None:
    error = ConfigError("data.path: '/x' does not exist.")
    assert error.problems == ["data.path: '/x' does not exist."]
    assert str(error) == "data.path: '/x' does not exist."


def test_several_problems_are_listed_each_once() -> None:
    error = ConfigError(["a: is wrong.", "b: is wrong\nfor two reasons.", "a: is wrong."])
    assert error.problems == ["a: is wrong.", "b: is wrong\nfor two reasons."]
    assert str(error) == "2 problems:\n  - a: is wrong.\n  - b: is wrong\n    for two reasons."


@pytest.mark.parametrize("error", [ConfigError("a: b."), PluginError("a")])
def test_errors_have_one_base(error: Exception) -> None:
    assert isinstance(error, LtxError)


def test_a_problem_names_the_choices_that_met_in_it() -> None:
    problem = "model.head_dim: 3 is odd."
    assert naming([problem], positions="rope") == ["model.head_dim: 3 is odd (positions=rope)."]
    assert naming([problem], adapter="lora", attention="none")[0].endswith("(adapter=lora, attention=none).")
    said = ["positions.base: 0 is too small.", "positions=rope needs an even head_dim."]
    assert naming(said, positions="rope") == said


def test_choices_are_sorted() -> None:
    assert choices(["rope", "learned"]) == "learned, rope"
    assert choices([]) == "none"


def test_nearest_suggests_only_what_is_alike() -> None:
    assert nearest("rmsnrom", ["layernorm", "rmsnorm", "none"]) == " Did you mean 'rmsnorm'?"
    assert nearest("xyz", ["layernorm", "rmsnorm", "none"]) == ""
