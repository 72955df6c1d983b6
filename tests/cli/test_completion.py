"""Completion of levels, options and the names of what is recorded."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_tx.cli.completion import SCRIPTS, candidates
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study


@pytest.mark.parametrize(
    ("word", "found", "missing"),
    [
        ("positions=rope,al", ["positions=rope,alibi"], ["positions=alibi"]),
        ("positions=rope,", ["positions=rope,none"], ["positions=rope,rope"]),
        ("positions=rope,alibi,", ["positions=rope,alibi,none"], ["positions=rope,alibi,alibi"]),
        ("norm=layernorm,rms", ["norm=layernorm,rmsnorm"], ["norm=layernorm,layernorm"]),
        ("adapter=lora,d", ["adapter=lora,dora"], ["adapter=lora,lora"]),
    ],
)
def test_after_a_comma_another_level_is_completed(word, found, missing) -> None:
    answers = candidates(["train", "-m"], word)
    assert set(found) <= set(answers) and set(missing).isdisjoint(answers)
    assert all(each.startswith(word) for each in answers)


@pytest.mark.parametrize(
    "word", ["plugins=[a.py,", "model.overrides=[{layers: 0,", "nonsense=a,b", "data.path=/nowhere,"]
)
def test_what_has_no_levels_completes_to_nothing(word) -> None:
    assert candidates(["train"], word) == []


def test_options_are_completed_and_their_values() -> None:
    assert "--multirun" in candidates(["train"], "--m") and "--cfg" in candidates(["train", "seed=1"], "--")
    assert candidates(["train", "--cfg"], "") == ["job", "hydra", "all"]
    assert candidates(["evaluate", "last", "--split"], "te") == ["test"]
    assert candidates(["evaluate", "last"], "--split=v") == ["--split=validation"]
    assert candidates(["ui"], "--p") == ["--port"] and candidates(["nonsense"], "--p") == []
    assert "tracking=default" in candidates(["report"], "tracking=")


@pytest.fixture
def recorded(root: Path, monkeypatch) -> list[str]:
    """Two studies with a run each, below the folder of the environment; the ids, the newest first."""
    store = Store.open(root)
    ids = []
    for study in ("heat", "cold"):
        Study.open(store, study)
        tags = {"ltx.kind": "run", "ltx.study": study}
        ids.append(store.create_run("rope", tags))
        store.client.log_metric(ids[-1], f"last/{study}", 1.0)
    Study.open(store, "a, b")  # wants quotes
    gone = store.create_run("gone", {"ltx.kind": "run", "ltx.study": "heat"})
    store.client.delete_run(gone)
    monkeypatch.setenv("LTX_ROOT", str(root))
    return ids[::-1]


def test_names_of_studies_are_completed(recorded) -> None:
    assert candidates(["report"], "h") == ["heat"]
    assert candidates(["runs"], "")[:3] == ["last", "cold", "heat"]
    assert candidates(["report", "heat"], "c") == []
    assert candidates(["train", "-m"], "study=") == ["study=cold", "study=heat"]
    assert candidates(["generate"], "best:") == ["best:cold", "best:heat"]
    assert candidates(["train"], "init_from=best:h") == ["init_from=best:heat"]


def test_names_of_runs_are_completed(recorded) -> None:
    new, old = recorded
    assert candidates(["generate"], "")[:4] == ["last", "best:", new[:8], old[:8]]
    assert candidates(["diff", "last"], old[:4]) == [old[:8]]
    assert candidates(["diff", "last", "last"], old[:4]) == []
    assert candidates(["evaluate"], old[:9]) == [old]
    assert f"init_from={new[:8]}" in candidates(["train"], "init_from=")
    assert candidates(["evaluate", "--split", "test"], old[:4]) == [old[:8]]


def test_metrics_of_the_study_are_completed(recorded) -> None:
    assert candidates(["report", "heat", "--metric"], "l") == ["last/heat"]
    assert candidates(["report", "--metric"], "l") == []  # the latest study has none
    assert candidates(["report", "cold"], "--metric=last/") == ["--metric=last/cold"]


def test_where_runs_are_recorded_is_said_as_for_the_commands(recorded, root, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LTX_ROOT", str(tmp_path / "elsewhere"))
    uri = f"sqlite:///{root}/mlflow.db"
    for place in (["--root", str(root)], [f"--root={root}"], [f"root={root}"], [f"tracking.uri={uri}"], ["--uri", uri]):
        assert candidates(["report", *place], "h") == ["heat"], place
    assert candidates(["report", f"root={root}", "tracking.experiment_name=other"], "h") == []
    assert candidates(["report", "tracking.uri=http://localhost:1"], "h") == []


@pytest.mark.parametrize("content", [None, b"", b"no database at all"])
def test_a_store_that_cannot_be_read_is_no_error_and_nothing_is_created(tmp_path, monkeypatch, content) -> None:
    folder = tmp_path / "multirun"
    monkeypatch.setenv("LTX_ROOT", str(folder))
    if content is not None:
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    assert candidates(["report"], "l") == ["last"] and candidates(["diff"], "best:") == []
    assert candidates(["train"], "study=") == []
    assert sorted(tmp_path.rglob("*")) == before


def test_reading_names_leaves_no_file_beside_the_database(recorded, root, tmp_path, monkeypatch) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    Store.get(root).client._tracking_client.store.engine.dispose()
    for file in root.glob("mlflow.db*"):
        shutil.copyfile(file, copy / file.name)
    before = sorted(copy.iterdir())
    assert candidates(["report", "--root", str(copy)], "h") == ["heat"]
    assert sorted(copy.iterdir()) == before


@pytest.mark.parametrize(
    "line", [["report", "h"], ["train", "study=h"], ["train", "positions=rope,al"], ["train", ""], ["generate", ""]]
)
def test_completion_imports_no_large_library_and_is_quick(recorded, line) -> None:
    code = f"""
import sys, time
from lightning_tx.cli import main
assert main(["completion", "words", "{len(line)}", "ltx", *{line}]) == 0
large = {{"torch", "mlflow", "pytorch_lightning", "numpy", "pandas", "sqlalchemy"}}
print("large:", sorted(large & {{name.partition(".")[0] for name in sys.modules}}))
print("seconds:", time.process_time())
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "large: []" in result.stdout and result.stderr == ""
    # Of the processor, of which a busy machine gives less.
    assert float(result.stdout.rpartition("seconds: ")[2]) < 1


def test_bash_asks_for_words_with_a_colon_as_one(tmp_path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(SCRIPTS["bash"])
    ask = 'source "$1"; printf "%s" "$COMP_WORDBREAKS"'
    shown = subprocess.run(["bash", "-ic", ask, "bash", str(script)], capture_output=True, text=True, check=True).stdout
    assert "=" not in shown and ":" not in shown
