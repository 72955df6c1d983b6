"""What ``ltx new`` writes: components that are right, conform and train as they are."""

import importlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lightning_tx.cli import main
from lightning_tx.cli.new import INSIDE, class_name, groups, plain_files
from lightning_tx.core.schema import options_of
from lightning_tx.groups import GROUPS
from lightning_tx.runs import plugin_files
from lightning_tx.runs.plugin_files import load_files
from lightning_tx.tracking.store import Store
from tests.tiny import tiny_overrides

#: Lines of the files that a component costs; what a screen shows.
LONGEST, LONGEST_TEST = 50, 30


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, whose modules can be imported until the test ends."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    before = set(sys.modules)
    yield place
    plugin_files.forget()
    for name in set(sys.modules) - before:
        if name.startswith(("own_", "test_own_")):
            del sys.modules[name]


@pytest.mark.parametrize("template", groups())
def test_a_written_component_is_short_complete_and_passes_its_reference_test(template: str, folder: Path) -> None:
    group, name = INSIDE.get(template, template), f"own_{template}"
    assert main(["new", template, name]) == 0
    component, config, test = (folder / path for path in plain_files(template, name))
    assert len(component.read_text().splitlines()) <= LONGEST
    assert len(test.read_text().splitlines()) <= LONGEST_TEST
    assert "my_component" not in "".join(file.read_text() for file in (component, config, test))

    (file,) = load_files([component])
    assert file.components == ((group, name),)
    cls = GROUPS[group].get(name)
    values = yaml.load(config.read_text().replace("1e-", "1.0e-"), yaml.SafeLoader)
    assert GROUPS[group].problems(values) == []
    assert values == {"name": name, **{option.name: option.default for option in options_of(cls)}}

    written = importlib.import_module(f"test_{name}")
    references = [part for key, part in vars(written).items() if key.startswith("test_") and key != "test_conforms"]
    assert references and hasattr(written, "test_conforms")
    for reference in references:
        reference()


@pytest.mark.slow
@pytest.mark.parametrize("template", groups())
def test_a_written_component_conforms(template: str) -> None:
    from lightning_tx.testing.suite import check_choice, failures

    group, name = INSIDE.get(template, template), f"own_{template}"
    assert main(["new", template, name]) == 0
    load_files([f"{name}.py"])
    assert failures(check_choice(group, name, {"name": name})) == []


def test_all_of_them_train_in_one_model(root: Path, text: Path, folder: Path, capsys) -> None:
    chosen = [template for template in groups() if template not in INSIDE and template not in ("data", "model")]
    for template in chosen:
        assert main(["new", template, f"own_{template}"]) == 0
    listed = ",".join(f"own_{template}.py" for template in chosen)
    choices = [f"{template}=own_{template}" for template in chosen]
    small = ["trainer.max_steps=2", "trainer.val_every=2", "model.num_heads=4", f"plugins=[{listed}]"]
    assert main(["train", *tiny_overrides(root, text), *choices, *small]) == 0, capsys.readouterr()
    (run,) = Store.open(root).runs()
    assert run.params["optimizer.plugin_digest"] != run.params["norm.plugin_digest"]


def test_a_written_model_trains(root: Path, text: Path, capsys) -> None:
    assert main(["new", "model", "own_model"]) == 0
    small = [word for word in tiny_overrides(root, text) if not word.startswith("model.num_heads")]
    assert main(["train", *small, "model=own_model", "plugins=[own_model.py]"]) == 0, capsys.readouterr()
    (run,) = Store.get(root).runs()
    assert run.metrics["train/loss"] < 6 and "model.plugin_digest" in run.params


def test_it_says_what_to_do_next(capsys) -> None:
    assert main(["new", "feed_forward", "own_gate"]) == 0
    wrote, *advice = capsys.readouterr().out.splitlines()
    assert wrote == "Wrote own_gate.py, conf/feed_forward/own_gate.yaml, test_own_gate.py"
    assert len(advice) == 3 and "'plugins=[own_gate.py]' feed_forward=own_gate" in advice[0]
    assert main(["new", "metric", "own_score"]) == 0
    assert "task=own_score" in capsys.readouterr().out


def test_a_package_has_what_pip_and_the_command_line_look_for(folder: Path, capsys) -> None:
    assert main(["new", "norm", "own_norm", "--package"]) == 0
    assert "pip install -e ./ltx_own_norm" in capsys.readouterr().out
    package = folder / "ltx_own_norm"
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["lightning_tx.plugins"] == {"ltx_own_norm": "ltx_own_norm"}
    assert (package / "ltx_own_norm" / "conf" / "norm" / "own_norm.yaml").read_text().startswith("name: own_norm\n")
    assert "from ltx_own_norm.own_norm import OwnNorm" in (package / "tests" / "test_own_norm.py").read_text()
    words = ("my_package", "my_group", "my_component", "MyComponent")
    for file in package.rglob("*.*"):
        assert not any(word in file.read_text() for word in words), file


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["norms", "own"], ["GROUP", "'norms'", "Did you mean 'norm'?", "feed_forward"]),
        (["norm", "OwnNorm"], ["NAME", "'OwnNorm'", "Perhaps 'own_norm'?"]),
        (["norm", "own-norm"], ["NAME", "Perhaps 'own_norm'?"]),
        (["norm", "2d"], ["NAME", "'2d'"]),
        (["norm", "lambda"], ["NAME", "'lambda'"]),
        (["norm", "rmsnorm"], ["NAME", "norm=rmsnorm exists already", "layernorm"]),
        (["attention", "mqa"], ["NAME", "attention=mqa exists already"]),
        (["metric", "causal_lm"], ["NAME", "task=causal_lm exists already"]),
        (["norm", "statistics"], ["NAME", "installed module"]),
        (["norm", "constant"], ["NAME", "would be called Constant"]),
    ],
)
def test_what_cannot_be_is_one_error_and_leaves_nothing(arguments, words, folder: Path, capsys) -> None:
    assert main(["new", *arguments]) == 2
    err = capsys.readouterr().err
    assert all(word in err for word in words), err
    assert list(folder.iterdir()) == []


def test_nothing_is_overwritten(folder: Path, capsys) -> None:
    (folder / "test_own_norm.py").write_text("mine")
    assert main(["new", "norm", "own_norm"]) == 2
    assert "'test_own_norm.py' exists already; nothing was written" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["test_own_norm.py"]
    assert class_name("gated_linear_unit") == "GatedLinearUnit"
