"""``ltx train`` from the command line to the record, in this process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_tx.cli import main
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from tests.tiny import tiny_overrides


@pytest.fixture
def ltx(root, text, tmp_path, monkeypatch, capsys):
    """Runs ``ltx train`` on tiny settings from an empty folder; gives exit code, output and error output."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["train", *tiny_overrides(root, text), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield run
    assert list(elsewhere.iterdir()) == []  # all that runs write lies below the root


def records(root: Path):
    store = Store.open(root)
    return store.runs(), store.studies()


def test_one_run(ltx, root) -> None:
    code, out, _ = ltx("positions=none")
    assert code == 0 and "last/loss" in out
    (run,), studies = records(root)
    assert run.status == "FINISHED" and studies == []
    assert run.choices["positions"] == "none" and run.choices["model.d_model"] == "16" and run.seed == 0
    assert run.params["positions.name"] == "none"


def test_a_sweep_ends_with_a_report_and_repeats_nothing(ltx, root) -> None:
    command = ("-m", "positions=none,rope", "seed=0,1")
    code, out, _ = ltx(*command)
    assert code == 0
    assert "[1/4] positions=none seed=0" in out and "[4/4]" in out
    assert "MLflow UI: " in out and "report.md" in out and "rope" in out
    runs, (study,) = records(root)
    assert study.status == "FINISHED" and len(runs) == 4
    assert {run.study for run in runs} == {study.study}

    code, out, _ = ltx(*command)
    assert code == 0 and out.count("finished before") == 4
    again, studies = records(root)
    assert [run.run_id for run in again] == [run.run_id for run in runs] and len(studies) == 1


def test_a_study_named_twice_is_extended(ltx, root) -> None:
    ltx("-m", "study=mine", "seed=0,1")
    ltx("-m", "study=mine", "seed=1,2")
    runs, (study,) = records(root)
    assert study.study == "mine" and sorted(run.seed for run in runs) == [0, 1, 2]


def test_a_failed_job_does_not_end_the_others(ltx, root) -> None:
    code, out, _ = ltx("-m", "optimizer.lr=1e30,0.003", "seed=0,1", "schedule=constant", "trainer.gradient_clip=null")
    assert code == 1
    assert "2 of 4 runs did not finish" in out and "failed: diverged at step " in out
    runs, (study,) = records(root)
    assert [run.status for run in runs] == ["FAILED", "FAILED", "FINISHED", "FINISHED"]
    assert study.status == "FAILED"
    store = Store.open(root)
    assert "Traceback" in store.artifact_path(runs[0].run_id, "traceback.txt").read_text()
    assert "report.md" in store.artifacts(study.run_id)


def test_a_sweep_has_one_precision_and_says_so(ltx, root, monkeypatch) -> None:
    """This machine is made to multiply bfloat16, which pays for the wide model alone."""
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, out, _ = ltx("-m", "model.d_model=16,128", "study=widths", "trainer.max_steps=2", "trainer.val_every=2")
    assert code == 0 and "precision 32: for all runs of study 'widths', d_model 16 is too narrow" in out
    code, out, _ = ltx("model.d_model=128", "study=widths", "seed=1", "trainer.max_steps=2", "trainer.val_every=2")
    assert code == 0 and "precision 32: for all runs of study 'widths'" in out
    runs, (study,) = records(root)
    assert {run.facts["precision"] for run in runs} == {"32"} and len(runs) == 3
    assert study.tags["ltx.precision"] == "32"


def test_a_study_knows_what_was_asked_for_before_it_trains(ltx, root, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lightning_tx.runs.train.train", lambda *_, **__: 1 / 0)
        code, *_ = ltx("-m", "positions=none,rope", "seed=0,1", "study=plan", "margin=1%")
    assert code != 0
    store = Store.open(root)
    study = Study.get(store, "plan")
    assert [row.name for row in study.rows()] == [
        f"positions={name} seed={seed}" for name in ("none", "rope") for seed in (0, 1)
    ]
    assert study.margin is not None and study.margin.text == "1%" and store.runs() == []
    ltx("seed=5", "study=plan", "trainer.max_steps=2")
    (run,) = store.runs()
    row = study.rows()[-1]
    assert (row.identity, row.seed, row.choices) == (run.identity, 5, run.choices)
    assert len(study.rows()) == 5 and "margin" not in row.choices and "study" not in row.name


def test_a_margin_that_comes_too_late_trains_nothing(ltx, root) -> None:
    """Neither where the study is named nor where its name is made from the sweep."""
    short = ("trainer.max_steps=2", "trainer.val_every=2")
    for named in ((), ("study=named",)):
        sweep = ("-m", "seed=0,1", *named, *short)
        assert ltx(*sweep)[0] == 0
        before = records(root)
        code, _, err = ltx(*sweep, "margin=0.01")
        assert code == 2 and err.startswith("error: margin: 0.01 comes too late")
        assert records(root) == before


def test_two_spellings_of_one_run_are_said_and_trained_once(ltx, root) -> None:
    code, out, _ = ltx("-m", "attention.num_kv_heads=null,2", "positions.base=10000,10000.0")
    assert code == 0 and "is the same run as" in out
    assert len(records(root)[0]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["positions=ropee"], ["positions", "'rope'", "sinusoidal"]),
        (["+model.typo=3", "norm.eps=0"], ["2 problems", "model.typo", "norm.eps"]),
        (["-m", "model.num_heads=2,3"], ["model.num_heads", "3 does not divide", "in "]),
        (["-m", "positions=rope,none", "model.head_dim=3,4"], ["even head_dim", "positions=rope"]),
        (["data.path=/nowhere/at/all"], ["data.path", "/nowhere/at/all"]),
        (["positions=none,rope"], ["--multirun"]),
        (["-m", "hydra/sweeper=nonsense"], ["nonsense"]),
        (["experiment=nonsense"], ["experiment", "ablation"]),
        (["margin=0.01"], ["margin: 0.01", "study=NAME"]),
        (["margin=1kg", "study=s"], ["margin: '1kg'", "1%"]),
        (["-m", "margin=0.01,0.02", "seed=0,1"], ["margin: 0.01, 0.02", "cannot be swept"]),
        (["-m", "margin=0.01,0.01"], ["margin: 0.01", "cannot be swept"]),
        (["-m", "seed=0,1", "margin=-1"], ["margin: -1", "above 0"]),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing_behind(ltx, root, arguments, words) -> None:
    code, _, err = ltx(*arguments)
    assert code == 2
    assert err.startswith("error: ") and "Traceback" not in err
    assert all(word in err for word in words), err
    assert records(root) == ([], [])


def test_hydra_shows_the_config_without_training(ltx, root) -> None:
    code, out, _ = ltx("--cfg", "job", "--package", "positions")
    assert code == 0 and "name: rope" in out
    assert records(root) == ([], [])


def spawn(root: Path, text: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "lightning_tx", "train", *tiny_overrides(root, text), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_checkpoint(root: Path, number: int) -> None:
    deadline = time.monotonic() + 120
    while len(list((root / "runs").glob("*/last.ckpt"))) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


LONG = ("trainer.max_steps=400", "trainer.val_every=100", "trainer.checkpoint_every=20", "model.dropout=0.1")


@pytest.mark.slow
def test_a_sweep_killed_without_a_word_goes_on_bit_for_bit(root, text, tmp_path) -> None:
    sweep = ("-m", "positions=none,rope", "seed=0", *LONG)
    process = spawn(root, text, *sweep)
    wait_for_checkpoint(root, 2)
    process.kill()
    process.communicate()
    before, _ = records(root)
    assert [run.status for run in before] == ["FINISHED", "RUNNING"]

    process = spawn(root, text, *sweep)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    assert out.count("finished before") == 1
    after, _ = records(root)
    assert [run.run_id for run in after] == [run.run_id for run in before]
    assert [run.status for run in after] == ["FINISHED", "FINISHED"]

    fresh = tmp_path / "unbroken"
    process = spawn(fresh, text, *sweep)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    stores = Store.open(root), Store.open(fresh)
    for ours, theirs in zip(after, stores[1].runs(), strict=True):
        for key in ("train/loss", "train/grad_norm", "val/loss"):
            assert stores[0].history(ours.run_id, key) == stores[1].history(theirs.run_id, key)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_sweep_that_is_asked_to_stop_says_so(root, text, signum, code) -> None:
    process = spawn(root, text, "-m", "seed=0,1", *LONG)
    wait_for_checkpoint(root, 1)
    os.kill(process.pid, signum)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code, out
    assert "The same command goes on" in out and "Traceback" not in out
    (run,), (study,) = records(root)
    assert run.status == "KILLED" and study.status == "KILLED"


@pytest.mark.parametrize("choice", ["moe", "switch", "mixtral"])
def test_a_mixture_of_experts_shows_what_its_experts_take(ltx, root, choice) -> None:
    code, out, err = ltx(f"feed_forward={choice}", "feed_forward.num_experts=4")
    assert code == 0, out + err
    (run,), _ = records(root)
    loads = [run.metrics[f"train/stats/decoder.0.feed_forward/load/{expert}"] for expert in range(4)]
    assert sum(loads) == pytest.approx(1) and run.metrics["train/stats/decoder.0.feed_forward/router_entropy"] > 0
    assert run.metrics["params/active"] < run.metrics["params/total"]
    assert "pictures/load.png" in Store.open(root).artifacts(run.run_id, "pictures")
