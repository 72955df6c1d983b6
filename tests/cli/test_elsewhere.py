"""In other people's programs: beside another application of Hydra, in notebooks, and from other working folders."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import getbase

import lightning_tx as ltx
from lightning_tx.cli import main
from lightning_tx.runs import plugin_files
from lightning_tx.tracking.store import Store
from tests.tiny import TEXT, TINY, tiny_config

APPLICATION = """
import json
import hydra
import lightning_tx
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.version import base_at_least

@hydra.main(version_base="1.2", config_path="conf", config_name="theirs")
def main(config):
    before = GlobalHydra.instance().hydra
    ours = [lightning_tx.compose([f"positions={name}", "root=runs"]) for name in ("rope", "alibi")]
    assert GlobalHydra.instance().hydra is before
    assert not base_at_least("1.3") and HydraConfig.get().job.name == "application"
    theirs = compose("theirs", overrides=["positions=mine"])
    print(json.dumps([config.positions, theirs.positions, *(each["positions"]["name"] for each in ours)]))

main()
"""


def test_another_application_of_hydra_composes_ours_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "theirs.yaml").write_text("positions: somewhere\n")
    (tmp_path / "application.py").write_text(APPLICATION)
    command = [sys.executable, "application.py", "positions=there", "hydra.run.dir=out"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == ["there", "mine", "rope", "alibi"]


def test_a_session_of_another_application_is_set_aside_and_put_back(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("positions: somewhere\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        before, base = GlobalHydra.instance().hydra, getbase()
        assert ltx.compose(["positions=rope"])["positions"]["name"] == "rope"
        with pytest.raises(Exception, match="rop"):
            ltx.compose(["positions=rop"])
        assert GlobalHydra.instance().hydra is before and getbase() == base
        assert hydra_compose("theirs").positions == "somewhere"
    assert not GlobalHydra.instance().is_initialized()


def test_a_notebook_composes_trains_and_reports_time_and_again(root: Path, text: Path) -> None:
    async def cells() -> list[float]:
        losses = []
        for seed in (0, 1):
            run = ltx.train(tiny_config(root, text, f"seed={seed}"))
            losses.append(run.metrics["last/loss"])
            ltx.sweep(
                [tiny_config(root, text, f"positions={name}", f"seed={seed}") for name in ("none", "rope")], study="s"
            )
            assert ltx.report("s", root=root).num_seeds == seed + 1
        return losses

    losses = asyncio.run(cells())  # the loop of a notebook runs already
    assert losses[0] != losses[1] and len(Store.get(root).runs()) == 6


def test_a_notebook_trains_on_the_text_as_it_is_now(root: Path, tmp_path: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text(TEXT)
    first = ltx.train(tiny_config(root, text))
    text.write_text(TEXT.upper())
    second = ltx.train(tiny_config(root, text))
    assert first.facts["data"] != second.facts["data"] and first.identity != second.identity


@pytest.fixture
def folder(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a command, with a text, a plugin and an empty store named as in a command: by relative paths."""
    folder = tmp_path / "command"
    (folder / "runs").mkdir(parents=True)
    shutil.copyfile(template, folder / "runs" / "mlflow.db")
    (folder / "text.txt").write_text(TEXT)
    (folder / "own.py").write_text(PLUGIN)
    monkeypatch.chdir(folder)
    yield folder
    plugin_files.forget()


PLUGIN = """
import lightning_tx
from lightning_tx.components.feed_forward.gelu import GELU


@lightning_tx.register("feed_forward", "own")
class Own(GELU):
    pass
"""
RELATIVE = [*TINY, "data.path=text.txt", "root=runs", "plugins=[own.py]", "++feed_forward.name=own"]


@pytest.mark.parametrize(
    "hydra",
    [
        ["hydra.job.chdir=true"],
        ["hydra.run.dir=elsewhere", "hydra.job.chdir=true"],
        ["-m", "hydra.sweep.dir=elsewhere", "hydra.job.chdir=true", "seed=0,1", "study=s"],
    ],
)
def test_no_setting_of_hydra_moves_the_store_or_a_relative_path(folder: Path, hydra: list[str]) -> None:
    assert main(["train", *RELATIVE, *hydra]) == 0
    assert Path.cwd() == folder
    runs = Store.get(folder / "runs").runs()
    assert len(runs) == (2 if "-m" in hydra else 1) and all(run.finished for run in runs)
    assert [*folder.rglob("mlflow.db")] == [folder / "runs" / "mlflow.db"]
    assert all(file.is_relative_to(folder / "runs") for file in folder.rglob("*.safetensors"))
    assert main(["train", *RELATIVE, "hydra.job.chdir=true", f"init_from={runs[0].run_id}", "seed=5"]) == 0


def test_the_same_relative_path_in_another_folder_is_another_file(folder: Path, tmp_path: Path, monkeypatch) -> None:
    config = ltx.compose([*TINY, "data.path=text.txt", f"root={folder / 'runs'}"])
    first = ltx.train(config)
    other = tmp_path / "other"
    other.mkdir()
    (other / "text.txt").write_text(TEXT.upper())
    monkeypatch.chdir(other)
    second = ltx.train(config)
    assert first.facts["data"] != second.facts["data"]
    assert len(Store.get(folder / "runs").runs()) == 2 and os.listdir(other) == ["text.txt"]


def test_the_root_of_the_environment_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTX_ROOT", "runs")
    words = [line for line in RELATIVE if not line.startswith("root=")]
    assert main(["train", *words, "hydra.job.chdir=true"]) == 0
    assert ltx.load_run("last").record.run_id == ltx.train(ltx.compose(words)).run_id
