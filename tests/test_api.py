"""Python does what the commands do: the same runs, the same studies, the same reports."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_tx as ltx
from lightning_tx.cli import main
from lightning_tx.core.errors import ConfigError
from lightning_tx.tracking.store import Store
from tests.tiny import tiny_config, tiny_overrides


def test_its_names_can_be_listed_without_importing_anything() -> None:
    code = "import sys, lightning_tx; names = dir(lightning_tx); assert 'torch' not in sys.modules; print(*names)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"compose", "build_model", "train", "sweep", "evaluate", "generate", "report", "load_run", "load_study"} <= {
        *shown
    }
    assert all(hasattr(ltx, name) for name in shown)


def test_a_sweep_is_a_study_that_the_command_line_shares(root: Path, text: Path, capsys) -> None:
    words = [(f"positions={positions}", f"seed={seed}") for positions in ("none", "rope") for seed in (0, 1)]
    configs = [tiny_config(root, text, *pair) for pair in words]
    said: list[str] = []
    runs = ltx.sweep(configs, study="mine", margin=0.5, say=said.append)
    assert [(run.choices["positions"], run.seed, run.finished) for run in runs] == [
        (positions, seed, True) for positions in ("none", "rope") for seed in (0, 1)
    ]
    assert said[0] == "positions=none seed=0: finished" and runs[0].study == "mine"

    table = ltx.load_study("mine", root=root)
    assert list(table["run_id"]) == [run.run_id for run in runs]
    assert table.groupby("positions")["last/loss"].count().to_dict() == {"none": 2, "rope": 2}
    found = ltx.report("mine", root=root)
    (effect,) = found.effects
    means = table.groupby("positions")["last/loss"].mean()
    assert effect.estimate == pytest.approx(means["rope"] - means["none"])

    # The same runs by the command line: none is trained again.
    assert main(["train", *tiny_overrides(root, text), "-m", "study=mine", "positions=none,rope", "seed=0,1"]) == 0
    assert capsys.readouterr().out.count("finished before") == 4
    assert len(Store.get(root).runs("mine")) == 4


def test_a_run_is_trained_once_evaluated_and_loaded(root: Path, text: Path) -> None:
    config = tiny_config(root, text)
    run = ltx.train(config, name="alone")
    assert run.finished and run.name == "alone" and run.choices["attention"] == "multi_head"
    assert ltx.train(config).run_id == run.run_id
    evaluation = ltx.evaluate(run.run_id[:6], "test", root=root)
    assert evaluation.numbers["loss"] == pytest.approx(run.metrics["test/loss"], rel=1e-4)
    recorded = Store.get(root).run(run.run_id).metrics["evaluate/test/loss"]
    assert recorded == evaluation.numbers["loss"]
    assert ltx.load_run("last", root=root).record.run_id == run.run_id
    written = ltx.generate(["1 and 2", "7"], root=root, max_new_tokens=5)
    assert len(written) == 2 and written == ltx.generate(["1 and 2", "7"], run.run_id, root=root, max_new_tokens=5)
    with pytest.raises(ConfigError, match=r"there is no decoding 'bem'. Did you mean 'beam'"):
        ltx.generate(["1"], root=root, decoding={"name": "bem"})


def test_every_problem_of_every_config_comes_before_anything_is_recorded(root: Path, text: Path) -> None:
    good, bad = tiny_config(root, text), tiny_config(root, text, "norm.eps=-1", "seed=1")
    with pytest.raises(ConfigError) as raised:
        ltx.sweep([good, bad, {**bad, "seed": -1}], study="mine")
    assert [problem.partition(":")[0] for problem in raised.value.problems] == ["norm.eps", "seed"]
    assert Store.get(root).runs() == [] and Store.get(root).studies() == []


def test_a_run_that_fails_is_recorded_and_does_not_end_the_others(root: Path, text: Path, monkeypatch) -> None:
    from lightning_tx.training import fit as module

    original = module.fit

    def fit(trained, *arguments, **named):
        if trained.model.d_model == 32:
            raise RuntimeError("planted")
        return original(trained, *arguments, **named)

    monkeypatch.setattr(module, "fit", fit)
    said: list[str] = []
    sizes = (16, 32, 48)
    configs = [tiny_config(root, text, f"model.d_model={size}") for size in sizes]
    runs = ltx.sweep(configs, study="sizes", say=said.append)
    assert [run.status for run in runs] == ["FINISHED", "FAILED", "FINISHED"]
    assert [run.choices["model.d_model"] for run in runs] == ["16", "32", "48"]
    assert said[1] == "model.d_model=32 seed=0: failed: planted"
    assert math.isfinite(ltx.load_study("sizes", root=root)["last/loss"].iloc[0])
    (study,) = Store.get(root).studies()
    assert study.status == "FAILED"
