import math
from pathlib import Path

import pytest

from lightning_tx import api
from lightning_tx.core.errors import ConfigError
from lightning_tx.runs.finding import find_run
from lightning_tx.runs.loading import load_run
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from lightning_tx.tracking.values import Point


@pytest.fixture
def store(root: Path) -> Store:
    return Store.open(root)


def finished(store: Store, name: str, value: float = 1.0, status: str = "FINISHED", **tags: str) -> str:
    run_id = store.create_run(name, {"ltx.kind": "run", "ltx.metric": "last/loss", "ltx.direction": "min", **tags})
    store.log_points(run_id, [Point("last/loss", value, 0, 0)])
    store.end_run(run_id, status)
    return run_id


def test_last_is_the_newest_run_that_finished(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"RUN: no run in .* is finished"):
        find_run(store, "last")
    runs = [
        finished(store, name, status=status) for name, status in (("a", "FINISHED"), ("b", "FINISHED"), ("c", "FAILED"))
    ]
    assert find_run(store, "last").run_id == runs[1]


def test_a_beginning_stands_for_an_id_it_is_the_only_one_of(store: Store) -> None:
    run_id = finished(store, "only")
    assert find_run(store, run_id).run_id == find_run(store, run_id[:6]).run_id == run_id
    with pytest.raises(ConfigError, match=rf"RUN: '{run_id[:3]}' is shorter than 6 characters. Runs: {run_id} \(only"):
        find_run(store, run_id[:3])
    with pytest.raises(ConfigError, match=rf"init_from: there is no run 'x{run_id[1:]}' .*Did you mean '{run_id}'"):
        find_run(store, f"x{run_id[1:]}", "init_from")


def test_the_best_of_a_study_is_the_best_of_those_that_finished_with_a_number(store: Store) -> None:
    study = Study.open(store, "mine")
    for direction, best in (("min", 2.0), ("max", 3.0)):
        runs = {
            value: finished(store, f"{value}", value, **{"ltx.study": study.name, "ltx.direction": direction})
            for value in (3.0, 2.0, math.nan)
        }
        finished(store, "failed", 0.0 if direction == "min" else 9.0, "FAILED", **{"ltx.study": study.name})
        assert find_run(store, "best:mine").run_id == runs[best]
        for run_id in runs.values():
            store.set_tags(run_id, {"ltx.study": "other"})
    with pytest.raises(ConfigError, match=r"RUN: no run of the study 'mine' has finished with a number"):
        find_run(store, "best:mine")
    with pytest.raises(ConfigError, match=r"there is no study 'mne'. Did you mean 'mine'\? Studies: mine, other|mine."):
        find_run(store, "best:mne")


def test_a_study_is_no_run(store: Store) -> None:
    study = Study.open(store, "mine")
    with pytest.raises(ConfigError, match=r"is the study 'mine'; its best run is best:mine"):
        find_run(store, study.run_id)


def test_runs_are_looked_for_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "elsewhere"
    monkeypatch.setenv("LTX_ROOT", str(root))
    with pytest.raises(ConfigError, match="nothing is recorded"):
        load_run("last")
    assert not root.exists()
    store = Store.open(root)
    store.log_json(finished(store, "bare"), "config.json", {})
    with pytest.raises(ConfigError, match=r"it has no tokenizer.json"):
        load_run("last")


@pytest.mark.parametrize("read", [lambda: load_run("last"), lambda: api.report(), lambda: api.generate(["a"])])
def test_an_empty_root_in_the_environment_is_refused(monkeypatch, tmp_path, read) -> None:
    monkeypatch.setenv("LTX_ROOT", "")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="LTX_ROOT: it is set, but empty"):
        read()
    assert list(tmp_path.iterdir()) == []
