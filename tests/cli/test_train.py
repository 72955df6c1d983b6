"""``ltx train`` from the command line to the record, in this process."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from lightning_tx.cli import main
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.identity import identify
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from lightning_tx.training.checkpoint import Checkpoints
from tests.tiny import tiny_config, tiny_overrides


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


@pytest.fixture
def elsewhere(root, text, monkeypatch):
    """Another process trains the run of a seed, until the one under test waits for it; then it does as told."""

    def train(seed: int, study: str | None, then) -> None:
        config = tiny_config(root, text, f"seed={seed}")
        store = Store.open(root)
        parent = Study.open(store, study) if study else None
        own = {"identity": identify(RunConfig.parse(config)), "config": config, "choices": {}, "seed": seed}
        other = TrackedRun(store, name="other", study=parent, **own).__enter__()
        monkeypatch.setattr("lightning_tx.runs.waiting.time", SimpleNamespace(sleep=lambda _: then(other)))

    return train


def died(run: TrackedRun) -> None:
    assert run._lock is not None
    run._lock.release()


def test_a_sweep_trains_what_is_free_waits_for_the_rest_and_takes_up_what_is_left(ltx, root, elsewhere) -> None:
    elsewhere(0, "shared", died)
    code, out, _ = ltx("-m", "seed=0,1", "study=shared")
    assert code == 0
    assert re.search(r"\[1/2\] seed=0  left to process \d+ on ", out) and "[2/2] seed=1  last/loss" in out
    assert out.count("Waiting for seed=0, trained by process") == 1
    assert out.index("Waiting for") < out.index("\nseed=0\n") and "2 of 2 runs finished" in out
    runs, (study,) = records(root)
    assert sorted((run.seed, run.status) for run in runs) == [(0, "FINISHED"), (1, "FINISHED")]
    assert study.status == "FINISHED"


def test_what_finishes_or_fails_elsewhere_is_said(ltx, root, elsewhere) -> None:
    elsewhere(0, None, lambda run: run.__exit__(None, None, None))
    code, out, _ = ltx("seed=0")
    assert code == 0 and "left to process" in out and ": finished, in the other process" in out
    elsewhere(1, None, lambda run: run.__exit__(ValueError, ValueError("no luck"), None))
    code, out, _ = ltx("seed=1")
    assert code == 1 and ": failed: ValueError: no luck, in the other process" in out
    assert len(records(root)[0]) == 2


def test_the_end_of_waiting_leaves_the_study_to_its_other_owner(ltx, root, elsewhere) -> None:
    elsewhere(0, "shared", lambda run: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(SystemExit) as caught:
        ltx("-m", "seed=0,1", "study=shared")
    assert caught.value.code == 130
    runs, (study,) = records(root)
    assert sorted((run.seed, run.status) for run in runs) == [(0, "RUNNING"), (1, "FINISHED")]
    assert study.status == "RUNNING"


def test_a_folder_that_was_moved_goes_on_where_it_is(ltx, root, text, tmp_path, monkeypatch, capsys) -> None:
    assert ltx("-m", "seed=0,1", "study=whole")[0] == 0
    original = Checkpoints.on_train_batch_start

    def dying(self, trainer, module, *rest):
        original(self, trainer, module, *rest)
        if trainer.global_step == 9:
            raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_start", dying)
        assert ltx("-m", "seed=2,3", "study=broken")[0] == 1
    before = [run.run_id for run in records(root)[0]]
    moved = tmp_path / "moved away"
    root.rename(moved)
    _artifact_repos_cache.clear()  # the user's next process has none of this one's

    assert main(["report", "whole", f"root={moved}"]) == 0
    assert "2 of 2 runs finished" in capsys.readouterr().out
    assert main(["generate", "best:whole", "1 and", "--max-new-tokens", "2", f"root={moved}"]) == 0
    assert main(["evaluate", "best:whole", f"root={moved}"]) == 0
    capsys.readouterr()
    assert main(["train", *tiny_overrides(moved, text), "-m", "seed=2,3", "study=broken"]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 runs finished" in out and "finished before" not in out and "On disk: " in out
    runs, _ = records(moved)
    assert [run.run_id for run in runs] == before and all(run.finished for run in runs)
    assert [run.tags.get("ltx.resumed") for run in runs] == [None, None, "1", "1"]
    assert not root.exists() and all(str(root) not in run.artifact_uri for run in Store.open(moved).runs())


@pytest.mark.slow
def test_two_equal_sweeps_at_once_share_the_work(root, text) -> None:
    sweep = ("-m", "positions=none,rope", "seed=0,1", *LONG)
    both = [spawn(root, text, *sweep) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all("4 of 4 runs finished" in out for out in said)
    assert sum(out.count("  last/loss") - out.count("finished before") for out in said) >= 4, said
    runs, (study,) = records(root)
    assert len(runs) == 4 and all(run.finished and "ltx.resumed" not in run.tags for run in runs)
    assert study.status == "FINISHED"
