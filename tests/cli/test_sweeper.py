"""The jobs that were checked reach any launcher, and are what it trains."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from lightning_tx.cli import main
from lightning_tx.cli.request import read_request
from lightning_tx.cli.sweeper import RowSweeper
from lightning_tx.tracking.store import Store
from tests.tiny import tiny_overrides

FOLDER = Path(__file__).parent / "spawning"


@pytest.fixture
def launched(monkeypatch):
    """What a launcher is asked for: each batch, with the number of its first job."""
    batches = []

    def launch(jobs, initial_job_idx):
        batches.append((initial_job_idx, jobs))
        results = [JobReturn(overrides=job) for job in jobs]
        for job, result in zip(jobs, results, strict=True):
            result.return_value = OSError("disk") if "fails" in job else 1.0
            result.status = JobStatus.FAILED if "fails" in job else JobStatus.COMPLETED
        return results

    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda self, **_: SimpleNamespace(launch=launch))
    return batches


def sweep(tmp_path: Path, jobs: list[tuple[str, ...]], **options: int) -> list:
    sweeper = RowSweeper(**options)
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "sweep")}}, "seed": 3})
    task = SimpleNamespace(launched=jobs, returned=lambda number, value: None)
    sweeper.setup(hydra_context=None, task_function=task, config=config)  # type: ignore
    return sweeper.sweep(["what=the,command,line says"])


def test_a_launcher_gets_the_list_of_the_task_and_no_other(tmp_path, launched) -> None:
    jobs = [("norm=none", "seed=0"), ("norm=none", "seed=1"), ("seed=2",)]
    (returned,) = sweep(tmp_path, jobs)
    assert launched == [(0, [list(job) for job in jobs])]
    assert [result.return_value for result in returned] == [1.0, 1.0, 1.0]


def test_batches_go_on_counting(tmp_path, launched) -> None:
    sweep(tmp_path, [(f"seed={number}",) for number in range(5)], max_batch_size=2)
    assert [first for first, _ in launched] == [0, 2, 4]
    assert [job for _, jobs in launched for job in jobs] == [[f"seed={number}"] for number in range(5)]


def test_what_a_job_raised_is_raised(tmp_path, launched, capsys) -> None:
    with pytest.raises(OSError, match="disk"):
        sweep(tmp_path, [("seed=0",), ("fails",)])
    assert "fails" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", [["seed=4"], ["-m", "seed=0,1", "norm=rmsnorm,none", "hydra.sweeper.max_batch_size=3"]]
)
def test_what_is_trained_is_what_was_checked(root, text, monkeypatch, line) -> None:
    """Even where Hydra, which composes each job again, would understand something else by then."""
    monkeypatch.setenv("ELSEWHERE", "16")
    trained = []

    def train(config, **told):
        trained.append((config.raw, told["labels"], told["name"]))
        monkeypatch.setenv("ELSEWHERE", "32")
        raise OSError("not today")

    monkeypatch.setattr("lightning_tx.runs.train.train", train)
    line = [*tiny_overrides(root, text), 'study="a, b: c=d"', 'model.d_model="${oc.decode:${oc.env:ELSEWHERE}}"', *line]
    request = read_request([word for word in line if word != "-m"], multirun="-m" in line)
    assert main(["train", *line]) != 0
    assert [config for config, *_ in trained] == [job.config for job in request.jobs]
    # Nothing is decoded, so that how it would be is no label.
    assert [{**labels, "decoding": "greedy"} for _, labels, _ in trained] == [job.labels for job in request.jobs]
    assert {config["model"]["d_model"] for config, *_ in trained} == {16}
    assert {config["study"] for config, *_ in trained} == {"a, b: c=d"}
    if request.is_sweep:
        assert [name for *_, name in trained] == ["seed=0 rmsnorm", "seed=0 none", "seed=1 rmsnorm", "seed=1 none"]
    # Hydra was asked for these jobs in one launch, and has written nothing.
    (folder,) = (root / "hydra").iterdir()
    assert {path.name for path in folder.iterdir()} == ({"0", "1", "2", "3"} if request.is_sweep else set())
    assert not any(path.is_file() for path in folder.rglob("*"))


@pytest.mark.slow
def test_a_launcher_of_processes_trains_what_was_checked(root, text) -> None:
    line = [*tiny_overrides(root, text), "-m", "positions=none,rope", "seed=0,1", 'study="a,b"']
    line += ['model.d_model="${oc.decode:${oc.env:ELSEWHERE}}"', "hydra/launcher=spawn", "hydra.launcher.workers=2"]
    python_path = os.pathsep.join(filter(None, [str(FOLDER), str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    process = subprocess.run(
        [sys.executable, "-m", "lightning_tx", "train", *line],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": python_path, "ELSEWHERE": "16"},
    )
    assert process.returncode == 0, process.stdout + process.stderr
    runs, (study,) = (store := Store.get(root)).runs(), store.studies()
    assert study.study == "a,b" and {run.study for run in runs} == {study.study}
    assert sorted((run.choices["positions"], run.seed) for run in runs) == [
        (name, seed) for name in ("none", "rope") for seed in (0, 1)
    ]
    assert {run.params["model.d_model"] for run in runs} == {"16"}


@pytest.mark.slow
def test_joblib_trains_two_at_a_time(root, text) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="comes with the extra joblib")
    line = [*tiny_overrides(root, text), "-m", "seed=0,1,2", "study=two"]
    line += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    command = [sys.executable, "-m", "lightning_tx", "train", *line]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    assert sorted(run.seed for run in Store.get(root).runs("two") if run.finished) == [0, 1, 2]
