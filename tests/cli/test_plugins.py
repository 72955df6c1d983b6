"""Components in single files, from the command line to the record and back."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_tx.cli import main
from lightning_tx.cli.compose import compose, labels_in
from lightning_tx.cli.plugins import plugins_of
from lightning_tx.cli.session import hydra_session
from lightning_tx.core.errors import ConfigError
from lightning_tx.runs import plugin_files
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.loading import load_run
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.tracking.store import Store
from tests.tiny import tiny_config, tiny_overrides

SOURCE = """
from torch import Tensor
from lightning_tx.components.feed_forward.base import Gated
from lightning_tx import register

@register("feed_forward", "reglu")
class ReGLU(Gated):
    '''A unit gated by a ReLU.'''

    def activation(self, x: Tensor) -> Tensor:
        return x.relu()
"""
SCHEDULE = """
from lightning_tx import register
from lightning_tx.schedule.base import Schedule

@register("schedule", "flat")
class Flat(Schedule):
    '''The same rate at every step.'''

    def __call__(self, step: int) -> float:
        return self.lr
"""
LISTED = "plugins=[own/reglu.py]"

Ltx = Callable[..., tuple[int, str, str]]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a plugin file and its yaml, below the working directory."""
    folder = tmp_path / "work" / "own"
    (folder / "conf" / "feed_forward").mkdir(parents=True)
    (folder / "reglu.py").write_text(SOURCE)
    (folder / "conf" / "feed_forward" / "reglu.yaml").write_text("name: reglu\nbias: false\n")
    monkeypatch.chdir(folder.parent)
    yield folder
    plugin_files.forget()


@pytest.fixture
def ltx(own: Path, root: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> Ltx:
    """Runs a command as in a process of its own; ``train`` on tiny settings."""

    def run(command: str, *arguments: str) -> tuple[int, str, str]:
        plugin_files.forget()
        if command == "train":
            arguments = (*tiny_overrides(root, text, "trainer.max_steps=2", "trainer.val_every=2"), *arguments)
        elif command in ("generate", "evaluate"):
            arguments = (*arguments, "--root", str(root))
        return main([command, *arguments]), *capsys.readouterr()

    return run


def test_a_listed_file_is_trained_recorded_and_used_again_only_where_it_is_listed(ltx: Ltx, own, root) -> None:
    code, out, err = ltx("train", LISTED, "feed_forward=reglu", "positions=learned")
    assert code == 0 and "plugins" not in out, err
    store = Store.open(root)
    (run,) = store.runs()
    (file,) = plugin_files.loaded()
    assert run.params["feed_forward.plugin_digest"] == file.digest and "plugins" not in run.choices
    kept = store.artifact_path(run.run_id, "plugins/reglu.py")
    assert kept.read_text() == SOURCE

    code, _, err = ltx("generate", "last", "3 and 4", "--max-new-tokens=2")
    assert code == 2 and "feed_forward (digest " in err and f"plugins=[{kept}]" in err
    assert plugin_files.loaded() == []
    assert ltx("generate", "last", "3 and 4", "--max-new-tokens=2", LISTED)[0] == 0
    assert ltx("evaluate", "last", LISTED)[0] == 0

    (own / "reglu.py").write_text(SOURCE.replace("x.relu()", "x.relu() + 1"))
    code, _, err = ltx("generate", "last", "3 and 4", LISTED)
    assert code == 2 and "None of own/reglu.py has that content" in err and str(kept) in err
    (own / "reglu.py").unlink()
    assert ltx("generate", "last", "3 and 4", "--max-new-tokens=2", f"plugins=[{kept}]")[0] == 0
    plugin_files.forget()
    assert load_run(run.run_id, root=root, plugins=[kept]).config["feed_forward"]["name"] == "reglu"
    plugin_files.forget()
    kept.unlink()
    with pytest.raises(ConfigError, match=r"lost its copy for feed_forward; list the file"):
        load_run(run.run_id, root=root)


def test_a_run_that_only_lists_a_file_needs_none(ltx: Ltx, root) -> None:
    assert ltx("train", LISTED, "positions=learned")[0] == 0
    (run,) = Store.open(root).runs()
    assert not any(key.endswith("plugin_digest") for key in run.params)
    assert ltx("generate", "last", "3 and 4", "--max-new-tokens=2")[0] == 0


def test_a_launchers_worker_imports_the_files_of_its_job(own, root, text) -> None:
    config = tiny_config(root, text, LISTED, "feed_forward=reglu", "trainer.max_steps=2", "trainer.val_every=2")
    plugin_files.forget()  # a process that has not checked the config
    assert train(RunConfig.parse(config), name="job", labels={}, store=open_store(config)).finished


def test_an_edited_file_is_trained_anew_and_the_report_tells_the_versions_apart(ltx: Ltx, own, root) -> None:
    sweep = ("-m", LISTED, "feed_forward=gelu,reglu", "study=mine")
    assert ltx("train", *sweep)[0] == 0
    (own / "reglu.py").write_text(SOURCE.replace("x.relu()", "x.relu().sqrt()"))
    code, out, _ = ltx("train", *sweep)
    assert code == 0 and out.count("finished before") == 1 and "Changed without being swept" not in out
    runs = Store.open(root).runs()
    versions = {run.params.get("feed_forward.plugin_digest", "")[:8] for run in runs}
    assert len(runs) == len(versions) == 3
    assert all(f"plugin_digest={version}" in out for version in versions - {""})


def test_the_environment_lists_files_for_every_command(ltx: Ltx, monkeypatch) -> None:
    monkeypatch.setenv("LTX_PLUGINS", "[own/reglu.py]")
    assert compose(["feed_forward=reglu"])["plugins"] == ["own/reglu.py"]
    code, out, _ = ltx("components", "feed_forward/reglu")
    assert code == 0 and "ltx_plugin_reglu.ReGLU" in out
    assert ltx("show", "model", "feed_forward=reglu", "model.vocab_size=64")[0] == 0
    assert compose(["plugins=[]"])["plugins"] == []


def test_an_experiment_beside_a_file_says_that_it_sets_the_whole_config(ltx: Ltx, own) -> None:
    experiment = own / "conf" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text("model: {num_layers: 3}\n")
    for command in (["show", "model"], ["train"], ["train", "-m", "seed=0,1"]):
        code, _, err = ltx(*command, LISTED, "experiment=mine")
        assert code == 2 and err.startswith("error: experiment.model: nothing reads")
        assert f"'{experiment}' must be # @package _global_" in err


def test_components_and_show_take_a_list(ltx: Ltx) -> None:
    code, out, _ = ltx("components", "feed_forward", LISTED)
    assert code == 0 and "gated by a ReLU" in out
    code, _, err = ltx("components", "feed_forward/reglu")
    assert code == 2 and "'reglu'" in err
    assert ltx("components", "positions", "norm")[0] == 2
    assert ltx("show", "model", LISTED, "feed_forward=reglu", "model.vocab_size=64")[0] == 0


def test_choices_join_for_the_block_alone(own) -> None:
    with plugins_of([LISTED]), hydra_session():
        assert "reglu" in labels_in("feed_forward")
    with hydra_session():
        assert "reglu" not in labels_in("feed_forward")


def test_a_folder_of_configs_brings_choices_too(ltx: Ltx, own) -> None:
    (own / "conf" / "feed_forward" / "biased.yaml").write_text("name: gelu\nbias: true\n")
    assert ltx("train", "--config-dir", "own/conf", "feed_forward=biased")[0] == 0


def test_a_config_of_the_users_lists_the_file_beside_it(ltx: Ltx, own, root) -> None:
    (own / "conf" / "experiment").mkdir()
    (own / "conf" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /feed_forward: reglu\nplugins: [own/reglu.py]\n"
    )
    sweep = ("-m", "--config-dir", "own/conf", "experiment=mine", "positions=none,rope")
    code, _, err = ltx("train", *sweep)
    assert code == 0, err
    assert all("feed_forward.plugin_digest" in run.params for run in Store.open(root).runs())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plugins=[own/gone.py]", "feed_forward=reglu"], ["'own/gone.py' does not exist", "looked from"]),
        (["plugins=own/reglu.py"], ["should be a list of files: plugins=[own/reglu.py]"]),
        (["plugins=own/reglu.py,b.py"], ["plugins=[own/reglu.py,b.py]"]),
        (["plugins=[own"], ["'[own' is no list of files"]),
        (["plugins=[3]"], ["should be a list"]),
        (["plugins=[own/bad.py]"], ["'own/bad.py' does not import", "ZeroDivisionError", "(line 1)"]),
        (["plugins=[own/taken.py]"], ["feed_forward/gelu is claimed twice", "ltx_plugin_taken", "gelu.GELU"]),
        (["plugins=[own/rule.py]"], ["option 'bias' has no type"]),
        (["plugins=[own/empty.py]"], ["registers nothing"]),
        (["plugins=[own/empty.py,own/bad.py]"], ["2 problems", "own/empty.py", "own/bad.py"]),
    ],
)
def test_bad_files_are_one_error_before_anything_trains(ltx: Ltx, own, root, arguments, words) -> None:
    (own / "bad.py").write_text("1 / 0\n")
    (own / "taken.py").write_text(SOURCE.replace('"reglu"', '"gelu"'))
    (own / "rule.py").write_text(SOURCE + "    def __init__(self, dims, site, *, bias=False): ...\n")
    (own / "empty.py").write_text("")
    code, _, err = ltx("train", *arguments)
    assert code == 2 and err.startswith("error: ") and "Traceback" not in err
    assert all(word in err for word in words), err
    assert Store.open(root).runs() == []


def test_a_choice_that_another_would_hide_is_refused(ltx: Ltx, own) -> None:
    (own / "conf" / "feed_forward" / "gelu.yaml").write_text("name: reglu\n")
    code, _, err = ltx("train", LISTED)
    assert code == 2 and "own/conf/feed_forward/gelu.yaml' and " in err and "are one choice" in err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_check_takes_a_list_and_hands_it_to_its_processes(ltx: Ltx, own, jobs) -> None:
    (own / "linear.py").write_text(SCHEDULE)
    code, out, err = ltx("check", "schedule/flat", "plugins=[own/linear.py]", "--jobs", jobs)
    # A class without a yaml has its defaults; it is checked as well.
    assert code == 0 and "schedule/flat" in out and "everything holds" in out, out + err


def test_an_installed_package_is_found_trained_and_shown(root: Path, tmp_path: Path, text: Path) -> None:
    """An entry point and a folder of configs, on the path of a new process."""
    repository = Path(__file__).parents[2]
    site = tmp_path / "site"
    shutil.copytree(repository / "examples" / "plugin" / "ltx_brackets", site / "ltx_brackets")
    info = site / "ltx_brackets-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ltx-brackets\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lightning_tx.plugins]\nltx_brackets = ltx_brackets\n")
    arguments = ["train", "-m", *tiny_overrides(root, text), "feed_forward=gelu,bilinear"]
    script = f"import sys; from lightning_tx.cli import main; sys.exit(main({arguments!r}))"
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{site}:{repository}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "bilinear" in found.stdout
