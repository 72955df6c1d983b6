"""The commands that show what was recorded and what can be chosen."""

import subprocess
import sys
import time

import pytest

from lightning_tx.cli import main
from lightning_tx.cli.completion import SCRIPTS, candidates
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def studied(tmp_path_factory, text):
    """A root with a study of two positions and two seeds."""
    root = tmp_path_factory.mktemp("studied") / "multirun"
    for positions in ("none", "rope"):
        for seed in (0, 1):
            config = tiny_config(root, text, f"positions={positions}", f"seed={seed}")
            store = open_store(config)
            study = Study.open(store, "small")
            train(
                RunConfig.parse(config),
                name=f"{positions} {seed}",
                labels={"positions": positions},
                store=store,
                study=study,
            )
    return root, store.runs("small")


def test_report_compares_the_latest_study(studied, capsys) -> None:
    root, _ = studied
    assert main(["report", "--root", str(root)]) == 0
    out = capsys.readouterr().out
    assert "small" in out and "rope" in out and "last/loss" in out and f"ui --root {root}" in out


def test_report_takes_another_metric_and_baseline(studied, capsys) -> None:
    root, _ = studied
    arguments = ["report", "small", "--metric", "train/loss", "--baseline", "positions=rope", "--root", str(root)]
    assert main(arguments) == 0
    assert "train/loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["smal"], ["'smal'", "small"]),
        (["small", "--metric", "best/los"], ["best/los", "'best/loss'"]),
        (["small", "--baseline", "positions"], ["FACTOR=LEVEL"]),
        (["small", "--baseline", "positions=alibi"], ["alibi", "none"]),
    ],
)
def test_report_says_what_it_does_not_have(studied, capsys, arguments, words) -> None:
    root, _ = studied
    assert main(["report", *arguments, "--root", str(root)]) == 2
    err = capsys.readouterr().err
    assert all(word in err for word in words), err


def test_commands_say_that_nothing_is_recorded(tmp_path, capsys) -> None:
    assert main(["report", "--root", str(tmp_path / "none")]) == 2
    assert "nothing is recorded" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_diff_names_what_differs_and_leaves_out_the_rest(studied, capsys) -> None:
    root, runs = studied
    assert main(["diff", runs[0].run_id, runs[2].run_id, "--root", str(root)]) == 0
    out = capsys.readouterr().out
    assert "positions.name" in out and "rope" in out and "model.d_model" not in out


def test_commands_that_read_import_no_large_library_but_mlflow_s(studied) -> None:
    """PyTorch and its company take longer than the tables that these commands print."""
    root, _ = studied
    code = """
import sys
from lightning_tx.cli import main
for line in (["runs"], ["runs", "small"], ["diff", "best:small", "last"], ["report", "small"]):
    assert main([*line, "--root", sys.argv[1]]) == 0
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not {"torch", "pytorch_lightning", "torchmetrics", "matplotlib"} & loaded, line
"""
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("line", "unwanted"),
    [
        (["--help"], ["rich", "hydra"]),
        (["report", "--help"], ["mlflow", "hydra", "pandas"]),
        (["show", "model"], ["mlflow.entities", "pytorch_lightning.trainer", "scipy.signal", "transformers"]),
    ],
)
def test_commands_import_what_they_need(line, unwanted) -> None:
    code = f"""
import sys
from contextlib import suppress
from lightning_tx.cli import main
with suppress(SystemExit):
    main({line})
print(*set({unwanted}) & set(sys.modules), sep=", ")
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.endswith("\n\n"), shown


@pytest.mark.slow
def test_commands_that_read_start_in_two_seconds(studied) -> None:
    root, _ = studied
    for line in (["runs"], ["diff", "best:small", "last"], ["report", "small"]):
        times = []
        for _ in range(3):
            began = time.monotonic()
            command = [sys.executable, "-m", "lightning_tx", *line, "--root", str(root)]
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.monotonic() - began)
        assert min(times) <= 2, line


def test_components_lists_choices_and_sources(capsys) -> None:
    assert main(["components", "attention"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("mha", "mqa", "none", "2305.13245"))


def test_components_shows_options_with_types_and_defaults(capsys) -> None:
    assert main(["components", "attention/mqa"]) == 0
    out = capsys.readouterr().out
    assert "attention.num_kv_heads" in out and "int > 0 or null" in out
    assert "Ainslie" in out and "float >= 0 < 1" in out


def test_components_suggests_the_nearest(capsys) -> None:
    assert main(["components", "position"]) == 2
    assert "'positions'" in capsys.readouterr().err
    assert main(["components", "positions/rop"]) == 2
    assert "'rope'" in capsys.readouterr().err


def test_show_model_counts_without_memory(capsys) -> None:
    assert main(["show", "model", "model=llama3_405b"]) == 0
    assert "405,853,388,800" in capsys.readouterr().out


def test_help_is_quick() -> None:
    times = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "lightning_tx", "--help"], check=True, capture_output=True)
        times.append(time.monotonic() - began)
    assert min(times) < 0.5


def test_completion_knows_commands_groups_choices_and_keys() -> None:
    assert candidates([], "re") == ["report"]
    assert "positions=rope" in candidates(["train"], "positions=")
    assert "model.d_model=" in candidates(["train", "positions=rope"], "model.d_")
    assert candidates(["components"], "positions/s") == ["positions/sinusoidal"]
    assert "decoding=beam" in candidates(["generate", "last"], "decoding=")
    assert candidates(["generate", "last"], "data.") == []
    assert "trainer.batch_tokens=" in candidates(["evaluate", "last"], "trainer.batch")
    assert "trainer.batch_size=" in candidates(["evaluate", "last"], "tr")
    assert {"decoding=", "root=", "tracking="} <= set(candidates(["generate", "last"], ""))
    assert {"seed=", "positions=", "positions.", "hydra/"} <= set(candidates(["train"], ""))
    assert candidates(["evaluate", "last"], "trainer.max") == []
    assert candidates(["new"], "feed") == ["feed_forward"] and candidates(["new", "norm"], "") == []
    assert candidates(["new", "norm", "mine"], "--p") == ["--package"]
    assert candidates(["components"], "--p") == ["--problems"]
    assert candidates(["report"], "--b") == ["--baseline"]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_completion_scripts_ask_us_for_words(shell, capsys) -> None:
    assert main(["completion", shell]) == 0
    assert "ltx completion words" in capsys.readouterr().out


def test_bash_accepts_the_completion_script(tmp_path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(SCRIPTS["bash"])
    fake = 'ltx() { printf "positions=rope\\npositions=none\\n"; }\n'
    ask = "COMP_WORDS=(ltx train positions=); COMP_CWORD=2; _ltx 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\""
    result = subprocess.run(["bash", "-c", f"{fake}source {script}; {ask}"], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["positions=rope", "positions=none"]


def test_runs_lists_them_by_names_that_other_commands_take(studied, capsys) -> None:
    root, runs = studied
    assert main(["runs", "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 4
    for line, run in zip(lines, runs, strict=True):
        name = line.split()[0]
        assert run.run_id.startswith(name) and "FINISHED" in line and "last/loss" in line and run.name in line
        assert main(["diff", name, "last", "--root", str(root)]) == 0
    capsys.readouterr()
    assert main(["runs", "last", "--root", str(root)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main(["runs", "smal", "--root", str(root)]) == 2
    assert "Did you mean 'small'" in capsys.readouterr().err


def test_runs_shows_the_newest_and_says_how_many_there_are(studied, capsys, monkeypatch) -> None:
    root, runs = studied
    monkeypatch.setattr("lightning_tx.cli.runs.LISTED", 3)
    assert main(["runs", "--root", str(root)]) == 0
    out = capsys.readouterr().out
    assert runs[-1].run_id[:8] in out and runs[0].run_id[:8] not in out and "1 earlier runs: --all" in out
    assert main(["runs", "--all", "--root", str(root)]) == 0
    assert runs[0].run_id[:8] in capsys.readouterr().out


def test_a_report_on_something_else_leaves_the_study_s_own(studied, capsys) -> None:
    root, _ = studied
    store = Store.open(root)
    (study,) = store.studies()
    kept = store.artifact_path(study.run_id, "report.md")
    assert main(["report", "--root", str(root)]) == 0
    own = kept.read_text()
    for view in (["--metric", "train/loss"], ["--baseline", "positions=rope"]):
        assert main(["report", *view, "--root", str(root)]) == 0
        assert "Not kept; --save keeps it." in capsys.readouterr().out and kept.read_text() == own
    assert main(["report", "--metric", "train/loss", "--save", "--root", str(root)]) == 0
    assert "train/loss" in kept.read_text()
    assert main(["report", "--root", str(root)]) == 0
    assert kept.read_text() == own
