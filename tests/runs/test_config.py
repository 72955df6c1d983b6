"""A config is parsed once, and knows what the run reads."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lightning_tx.cli import main
from lightning_tx.cli.compose import compose
from lightning_tx.core import group as module
from lightning_tx.core.errors import ConfigError
from lightning_tx.groups import GROUPS
from lightning_tx.runs.config import RunConfig
from lightning_tx.tracking.store import Store
from tests.tiny import problems_of_run, tiny_config, tiny_overrides


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the options of each group were validated."""
    counts: Counter[str] = Counter()
    original = module.checked

    def checked(model: Any, values: Any, where: str) -> Any:
        counts[where] += 1
        return original(model, values, where)

    monkeypatch.setattr(module, "checked", checked)
    return counts


def test_a_run_from_the_command_line_validates_the_options_of_each_component_once(
    root: Path, text: Path, validated: Counter[str]
) -> None:
    assert main(["train", *tiny_overrides(root, text), "attention=gqa", "attention.num_kv_heads=1"]) == 0
    assert set(validated.values()) == {1}
    assert validated.keys() <= set(GROUPS) and "attention" in validated
    assert validated.total() <= 12


def test_it_cannot_be_changed() -> None:
    config = RunConfig.parse(compose([]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("key", "value", "start"),
    [
        ("seed", -1, "seed: -1 should be greater than or equal to 0"),
        ("seed", True, "seed: True should be a valid integer"),
        ("seed", 2**63, "seed: 9223372036854775808 is beyond 2^63 - 1."),
        ("study", 2025, "study: 2025 should be text, which it is in quotes: study='\"2025\"'."),
        ("study", "", "study: '' "),
        ("root", None, "root: None "),
        ("init_from", 12345678, "init_from: 12345678 should be text"),
        ("trainer", 3, "trainer: 3 is not a mapping. Keys: accelerator, "),
        ("tracking", [1], "tracking: [1] is not a mapping. Keys: "),
        ("model", "decoder", "model: 'decoder' is not a mapping with a 'name'."),
        ("margin", float("nan"), "margin: nan should be str or float or null."),
        ("margin", [1], "margin: [1] should be str or float or null."),
        ("typo", 1, "typo: unknown key."),
    ],
)
def test_every_key_has_a_schema(key: str, value: Any, start: str) -> None:
    (problem,) = problems_of_run({**compose([]), key: value})
    assert problem.startswith(start), problem


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**30, True, "0.1", [0.1]])
def test_numbers_are_numbers_that_can_be_reckoned_with(value: Any) -> None:
    config = compose([])
    (problem,) = problems_of_run({**config, "optimizer": {**config["optimizer"], "lr": value}})
    assert problem.startswith("optimizer.lr"), problem


def test_a_key_that_is_needed_and_left_out() -> None:
    config = compose([])
    for key in ("seed", "root", "task", "model", "norm"):
        (problem,) = problems_of_run({name: value for name, value in config.items() if name != key})
        assert problem.startswith(f"{key}: missing"), problem
    assert problems_of_run({name: value for name, value in config.items() if name != "adapter"}) == []


@pytest.mark.parametrize(
    ("words", "unread"),
    [
        ([], {"decoding"}),
        (["experiment=translation"], set()),
        (["attention=none"], {"decoding", "pattern", "positions", "model.num_heads", "model.head_dim"}),
        (
            ["attention=none", "positions=learned"],
            {"decoding", "pattern", "model.num_heads", "model.head_dim"},
        ),
        (["feed_forward=none"], {"decoding", "model.d_ff"}),
        (["block=rezero"], {"decoding", "norm"}),
        (["block=rezero", "attention.qk_norm=true"], {"decoding"}),
        (["model.overrides=[{layers: 0, attention: none}]"], {"decoding"}),
        (["model.overrides=[{norm: layernorm}]"], {"decoding", "norm"}),
        (["positions=alibi"], {"decoding", "model.head_dim"}),
    ],
)
def test_what_is_read_shows_by_building(words: list[str], unread: set[str]) -> None:
    found = RunConfig.parse(compose(words)).unread
    # Whether a component takes the width of a head or asks for nothing is its own affair.
    assert found - {"model.head_dim"} == unread - {"model.head_dim"}


def test_what_is_varied_and_read_by_nothing_is_refused_by_name(
    root: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*tiny_overrides(root, text), "-m", "attention=none", "pattern=full,local", "block=rezero"]
    assert main(["train", *line, "norm=rmsnorm,layernorm", "decoding=greedy,beam", "model.num_heads=1,2"]) == 2
    error = capsys.readouterr().err
    for key in ("pattern", "norm", "model.num_heads"):
        assert f"{key}: it is varied, but no run reads it; nothing in model=decoder, attention=none" in error
    assert "decoding: it is varied, but no run reads it; task=causal_lm decodes nothing." in error
    assert Store.open(root).runs() == []


def test_one_run_whatever_it_does_not_read(root: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [*tiny_overrides(root, text), "-m", "study=mine", "attention=none,mha", "pattern=full,local"]
    assert main(["train", *line]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "attention=none pattern=local is the same run as attention=none pattern=full" in shown
    assert "pattern is read by nothing where attention=none; such runs count as pattern=full." in " ".join(
        shown.split()
    )
    runs = Store.open(root).runs("mine")
    assert len(runs) == 3
    (bare,) = [run for run in runs if run.choices["attention"] == "none"]
    assert "pattern" not in bare.choices and "decoding" not in bare.choices
    with pytest.raises(ConfigError):
        RunConfig.parse({})


@pytest.mark.parametrize("length", [16, 1000])
def test_a_prefix_that_leaves_nothing_to_predict_is_refused(root: Path, text: Path, length: int) -> None:
    (problem,) = problems_of_run(tiny_config(root, text, "pattern=prefix", f"pattern.length={length}"))
    assert problem == (
        f"pattern: 'prefix' has a prefix of {length} tokens, which leaves none of model.max_seq_len = 16 to be "
        "predicted."
    )


def test_a_root_below_a_file_is_refused_before_anything_is_written(text: Path, tmp_path: Path) -> None:
    for root in (text, text / "runs" / "mine"):
        with pytest.raises(ConfigError) as error:
            RunConfig.parse({**compose(tiny_overrides(tmp_path, text)), "root": str(root)})
        assert error.value.problems == [f"root: {str(root)!r} is no folder: '{text}' is a file."]
    with pytest.raises(ConfigError, match="is no name of a folder"):
        RunConfig.parse({**compose(tiny_overrides(tmp_path, text)), "root": "x" * 5000})
