"""Configs and files of others run nobody's code: what could is refused, or left aside."""

import io
import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

import lightning_tx as ltx
from lightning_tx.cli import main
from lightning_tx.runs.materials import forget
from lightning_tx.tracking.store import Store
from lightning_tx.training.checkpoint import LAST, steps_done
from tests.tiny import tiny_config, tiny_overrides


class Trap:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The folder that a trap leaves behind."""
    return tmp_path / "mark"


def traps(mark: Path) -> dict[str, bytes]:
    """Files that run code when they are read carelessly: a pickle, a checkpoint, an array of objects."""
    checkpoint, array = io.BytesIO(), io.BytesIO()
    torch.save({"global_step": Trap(mark), "state_dict": {}}, checkpoint)
    np.save(array, np.array([Trap(mark)], dtype=object), allow_pickle=True)
    return {"pickle": pickle.dumps(Trap(mark)), "checkpoint": checkpoint.getvalue(), "array": array.getvalue()}


def test_the_traps_close_when_they_are_read_carelessly(mark: Path) -> None:
    contents = traps(mark)
    assert zipfile.is_zipfile(io.BytesIO(contents["checkpoint"]))
    for read in (
        lambda: pickle.loads(contents["pickle"]),
        lambda: torch.load(io.BytesIO(contents["checkpoint"]), weights_only=False),
        lambda: np.load(io.BytesIO(contents["array"]), allow_pickle=True),
    ):
        read()
        assert mark.exists()
        mark.rmdir()


@pytest.mark.parametrize("kind", ["pickle", "checkpoint", "array"])
def test_no_file_below_the_root_is_unpickled(root: Path, text: Path, mark: Path, kind: str) -> None:
    config = tiny_config(root, text)
    run = ltx.train(config)
    store, content = Store.get(root), traps(mark)[kind]
    own = store.folder(run.run_id)
    keep = ("mlflow.db", "config.json", ".lock")
    files = [each for each in root.rglob("*") if each.is_file() and not each.name.startswith("mlflow.db")]
    files = [each for each in files if each.name not in keep and not each.name.endswith(".lock")]
    assert {each.suffix for each in files} >= {".npy", ".safetensors", ".json"}
    # A run that has finished keeps no checkpoint; here it seems to have been stopped before its end.
    for each in (*files, own / LAST):
        each.write_bytes(content)
    with suppress(Exception):
        steps_done(own)
    with suppress(Exception):
        ltx.load_run(run.run_id, root=root)
    forget()
    # The run goes on from the checkpoint, and another begins with the weights.
    store.reopen_run(run.run_id)
    for again in ({}, {"init_from": run.run_id, "seed": 1}, {"seed": 2}):
        with suppress(Exception):
            ltx.train({**config, **again})
    assert (own / LAST).exists() and not mark.exists()


def test_no_config_names_code_to_run(root: Path, text: Path, tmp_path: Path, mark: Path, capsys) -> None:
    folder = tmp_path / "configs" / "experiment"
    folder.mkdir(parents=True)
    harmful = {
        "tag": f"seed: !!python/object/apply:os.system ['touch {mark}']\n",
        "new": f"seed: !!python/object/new:pathlib.Path ['{mark}']\n",
        "target": f"data:\n  note: {{_target_: builtins.open, file: {mark}, mode: w}}\n",
        "model": f"model: {{_target_: builtins.open, _args_: [{mark}, w]}}\n",
    }
    for name, content in harmful.items():
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n{content}")
    for name in harmful:
        words = ["--config-dir", str(folder.parent), f"experiment={name}", *tiny_overrides(root, text)]
        assert main(["train", *words]) == 2, name
        assert "error" in capsys.readouterr().err and not mark.exists(), name
    assert main(["train", *tiny_overrides(root, text), "+data._target_=builtins.open", f"+data.file={mark}"]) == 2
    assert not mark.exists()
