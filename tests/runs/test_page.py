"""What the MLflow UI shows of a run and of a study, as its API gives it."""

import io
import json
from pathlib import Path

import matplotlib.image
import pytest

import lightning_tx as ltx
from lightning_tx.cli import main
from lightning_tx.core import names
from lightning_tx.studies.page import share_study
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from lightning_tx.tracking.view import address
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def studied(tmp_path_factory, text: Path) -> tuple[Store, list[RunRecord]]:
    """A store with a study of two positions and two seeds, and its report."""
    root = tmp_path_factory.mktemp("page") / "multirun"
    pairs = [(f"positions={name}", f"seed={seed}") for name in ("none", "rope") for seed in (0, 1)]
    ltx.sweep([tiny_config(root, text, *pair) for pair in pairs], study="mine")
    ltx.report("mine", root=root)
    store = Store.get(root)
    return store, store.runs("mine")


def test_a_run_shows_its_curve_its_data_and_what_its_model_writes(studied, text: Path) -> None:
    store, (run, *_) = studied
    assert "pictures/learning_curve.png" in store.artifacts(run.run_id, "pictures")
    picture = matplotlib.image.imread(store.artifact_path(run.run_id, "pictures/learning_curve.png"))
    assert picture.shape[0] > 200 and (picture[..., :3] < 0.9).any()
    sample = store.artifact_path(run.run_id, names.SAMPLE_FILE).read_text()
    note = run.tags[names.NOTE]
    assert f"**{run.metrics['last/loss']:.4g}** after 12 steps on text_file" in note and sample.strip() in note
    (entry,) = store.client.get_run(run.run_id).inputs.to_dictionary()["dataset_inputs"]
    assert entry["dataset"]["digest"] == run.facts["data"]
    assert not json.loads(entry["dataset"]["source"])["uri"].startswith("/")
    # What stands before the bar is the beginning of the validation text, and what comes after it the model's own.
    *_, prompted = [line.strip() for line in sample.splitlines() if "|" in line]
    prompt, _, written = prompted.partition("|")
    assert prompt and prompt in text.read_text()
    assert ltx.generate([prompt], run.run_id, root=store.root, max_new_tokens=48)[0].splitlines()[:1] == [written]


def test_a_study_shows_its_report_and_its_figures_first(studied) -> None:
    store, _ = studied
    study = Study.get(store, "mine")
    note = store.run(study.run_id).tags[names.NOTE]
    report = store.artifact_path(study.run_id, names.REPORT_FILE).read_text()
    lines = {line for line in report.splitlines() if line and not line.startswith("# ")}
    assert lines <= set(note.splitlines())
    key = address(store, share_study(store, "mine", store.runs("mine")))
    assert f"[All runs]({key})" in note and f"({key}&compareRunsMode=CHART)" in note
    assert note.index("## Effects") < note.index("## Combinations")
    # The UI lists folders before files.
    listed = store.client.list_artifacts(study.run_id)
    assert [item.path for item in listed if item.is_dir] == [names.FIGURES_FOLDER]
    figure = store.artifact_path(study.run_id, f"{names.FIGURES_FOLDER}/effects.png").read_bytes()
    assert matplotlib.image.imread(io.BytesIO(figure)).shape[1] > 400


def test_the_views_show_the_primary_metric_and_curves_of_validation(studied, capsys, monkeypatch) -> None:
    store, _ = studied
    monkeypatch.setattr("lightning_tx.cli.ui.require_usable", lambda port: None)
    monkeypatch.setattr("lightning_tx.cli.ui.serve", lambda *_: 0)
    assert main(["ui", "--root", str(store.root)]) == 0
    shown = capsys.readouterr().out
    tags = store.client.get_experiment(store.experiment_id).tags
    assert tags[names.PRIMARY_METRIC] == "val/loss"
    states = {key: json.loads(value) for key, value in tags.items() if key.startswith(names.SHARED_VIEW)}
    assert len(states) == 2 and all(key.removeprefix(names.SHARED_VIEW) in shown for key in states)
    for state in states.values():
        assert "metrics.`last/loss`" in state["selectedColumns"]
        assert state["compareRunCharts"][0]["metricKey"] == "val/loss"
        found = store.client.search_runs([store.experiment_id], state["searchFilter"])
        assert len(found) == 4 and all("last/loss" in each.data.metrics for each in found)
