"""The words by which every command finds what was recorded, as ``ltx train`` takes them."""

import json
import shutil

import pytest

from lightning_tx import load_run
from lightning_tx.cli import main
from lightning_tx.cli.completion import candidates
from lightning_tx.core.errors import ConfigError
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from tests.tiny import tiny_config, tiny_overrides

MINE = "tracking.experiment_name=mine"


@pytest.fixture(scope="module")
def recorded(template, tmp_path_factory, text):
    """A root whose experiment ``mine`` has a study of one run, beside the empty default one; and the run's id.

    The run's config is as earlier versions recorded it, when tracking was a component with a name.
    """
    root = tmp_path_factory.mktemp("stores") / "multirun"
    root.mkdir()
    shutil.copyfile(template, root / "mlflow.db")
    config = tiny_config(root, text, MINE, "trainer.max_steps=2", "trainer.val_every=2")
    store = open_store(config)
    assert store.experiment_id != Store.get(root).experiment_id
    run = train(RunConfig.parse(config), name="run", labels={}, store=store, study=Study.open(store, "small"))
    path = store.artifact_path(run.run_id, "config.json")
    old = json.loads(path.read_text())
    old["tracking"] = {"name": "mlflow", **old["tracking"]}
    path.write_text(json.dumps(old))
    return root, run.run_id


def test_every_command_reads_the_experiment_that_words_name(recorded, capsys) -> None:
    root, run_id = recorded
    where = [f"root={root}", MINE]
    assert main(["report", *where]) == 0
    out = capsys.readouterr().out
    assert "small" in out and f" ui --root {root} {MINE}" in out
    assert main(["report", MINE, "small", "--metric", "best/loss", f"root={root}"]) == 0
    assert main(["evaluate", *where, "last"]) == 0
    assert f"({run_id})" in capsys.readouterr().out
    assert main(["generate", "last", MINE, "the", "--max-new-tokens", "2", f"root={root}"]) == 0
    assert main(["generate", "--root", str(root), "--uri", f"sqlite:///{root}/mlflow.db", MINE, "last", "the"]) == 0
    assert main(["diff", *where, run_id, run_id]) == 0


def test_the_ui_opens_at_the_experiment(recorded, capsys, monkeypatch) -> None:
    root, _ = recorded
    started = []
    monkeypatch.setattr("lightning_tx.cli.ui.require_usable", lambda _: None)
    monkeypatch.setattr("lightning_tx.cli.ui.serve", lambda command, _: started.append(command) or 0)
    assert main(["ui", f"root={root}", MINE]) == 0
    experiment = Store.get(root, TrackingOptions(experiment_name="mine")).experiment_id
    out = capsys.readouterr().out
    assert f"/#/experiments/{experiment}/runs" in out and "Study small" in out
    assert f"sqlite:///{root}/mlflow.db" in started[0]


def test_a_run_is_loaded_from_its_experiment(recorded) -> None:
    root, run_id = recorded
    loaded = load_run(run_id, root=root, experiment_name="mine")
    assert loaded.record.run_id == run_id and loaded.config["tracking"]["name"] == "mlflow"
    with pytest.raises(ConfigError, match=r"experiment 'min' .*'mine'\? Experiments: lightning_tx, mine\."):
        load_run(run_id, root=root, experiment_name="min")
    with pytest.raises(ConfigError, match=r"tracking\.uri: 'mlruns' is not"):
        load_run(run_id, root=root, uri="mlruns")


@pytest.mark.parametrize(
    "arguments", [["report"], ["ui"], ["evaluate", "last"], ["generate", "last", "the"], ["diff", "a", "b"]]
)
def test_reading_creates_no_experiment_and_no_store(recorded, tmp_path, capsys, arguments) -> None:
    root, _ = recorded
    assert main([*arguments, f"root={root}", "tracking.experiment_name=nine"]) == 2
    err = capsys.readouterr().err
    assert (
        "tracking.experiment_name: there is no experiment 'nine'" in err and "Experiments: lightning_tx, mine." in err
    )
    assert {each.name for each in Store.get(root).client.search_experiments()} == {"Default", "lightning_tx", "mine"}

    assert main([*arguments, f"root={tmp_path}/none"]) == 2
    assert f"root: nothing is recorded below '{tmp_path}/none'" in capsys.readouterr().err
    assert main([*arguments, f"tracking.uri=sqlite:///{tmp_path}/none.db"]) == 2
    assert f"tracking.uri: there is no database '{tmp_path}/none.db'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_words_and_options_do_not_contradict(recorded, capsys) -> None:
    root, _ = recorded
    uri = f"sqlite:///{root}/mlflow.db"
    assert main(["report", "--root", str(root), f"root={root}", "--uri", uri, f"tracking.uri={uri}", MINE]) == 0
    assert main(["report", "--root", str(root), "root=other", "--uri", uri, "tracking.uri=http://host", MINE]) == 2
    err = capsys.readouterr().err
    assert (
        f"--root: '{root}' contradicts root=other" in err
        and f"--uri: '{uri}' contradicts tracking.uri=http://host" in err
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tracking.experiment=mine", "tracking.experiment: unknown key. Did you mean 'experiment_name'?"),
        ("tracking=mlflow", "tracking: there is no choice 'mlflow'. Choices: default."),
        ("tracking.uri=mlruns", "tracking.uri: 'mlruns' is not a database or server of MLflow."),
        ("tracking.experiment_name=a,b", "tracking.experiment_name: several values"),
    ],
)
def test_words_are_checked_as_those_of_a_run_are(recorded, text, tmp_path, capsys, word, message) -> None:
    assert main(["report", f"root={recorded[0]}", word]) == 2
    assert message in capsys.readouterr().err
    assert main(["train", *tiny_overrides(tmp_path / "runs", text), word]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "runs" / "mlflow.db").exists()


@pytest.mark.parametrize("root", ["nan", "3", "null", "[a]", "{a:1}", "true", "''"])
def test_a_root_that_is_no_folder_is_refused(capsys, root) -> None:
    assert main(["runs", f"root={root}"]) == 2
    assert capsys.readouterr().err.startswith("error: root: ")


@pytest.mark.parametrize("command", ["report", "ui", "diff", "generate", "evaluate"])
def test_completion_knows_the_words(command) -> None:
    assert candidates([command], "tracking.exp") == ["tracking.experiment_name="]
    assert candidates([command], "roo") == ["root="]
    assert candidates([command], "positions=") == []
