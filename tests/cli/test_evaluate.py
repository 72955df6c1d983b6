"""``ltx evaluate``: a score from the record alone, added to the record."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sacrebleu import corpus_bleu, corpus_chrf

from lightning_tx.cli import main
from lightning_tx.cli.compose import compose
from lightning_tx.decoding.base import DECODING
from lightning_tx.decoding.generate import generate
from lightning_tx.decoding.greedy import Greedy
from lightning_tx.runs.evaluation import label_of
from lightning_tx.runs.loading import load_run
from lightning_tx.tracking.store import Store
from tests.cli.test_generate import TRANSLATION, trained
from tests.tiny import tiny_config

NUMBERS = ("loss", "perplexity", "bleu", "chrf", "exact_match")


@pytest.fixture(scope="module")
def recorded(template, text, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A root, and the ids of its runs: a translator, and a decoder whose data have no test split."""
    root = tmp_path_factory.mktemp("evaluate") / "multirun"
    root.mkdir()
    shutil.copyfile(template, root / "mlflow.db")
    short = ["data.test_fraction=0.0", "trainer.max_steps=2", "trainer.val_every=2"]
    configs = {
        "translator": compose([*TRANSLATION, f"root={root}"]),
        "decoder": tiny_config(root, text, *short),
    }
    return root, {name: trained(config, name) for name, config in configs.items()}


@pytest.fixture
def ltx(recorded, capsys):
    """Runs ``ltx evaluate``; gives exit code, output and error output."""

    def run(name: str, *arguments: str) -> tuple[int, str, str]:
        root, runs = recorded
        code = main(["evaluate", runs[name], *arguments, "--root", str(root)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def store(recorded) -> Store:
    return Store.open(recorded[0])


def test_a_repeated_evaluation_adds_a_point_and_replaces_nothing(ltx, recorded, store) -> None:
    run = recorded[1]["translator"]
    before = store.run(run)
    for step in range(2):
        code, out, err = ltx("translator", "--split", "test", "trainer.batch_size=3")
        assert (code, err) == (0, "")
        assert f"step {step}, with files in evaluate/test-greedy-{step}" in out
        assert all(name in out for name in (*NUMBERS, "tokens_per_second", "cache_bytes", "nrefs:1|case:mixed"))
    after = store.run(run)
    for name in NUMBERS:
        points = store.history(run, f"evaluate/test/greedy/{name}")
        assert [step for step, _ in points] == [0, 1] and points[0][1] == points[1][1]
        # The same weights were scored at the end of training, by Lightning and in other batches.
        assert points[0][1] == pytest.approx(before.metrics[f"test/{name}"], rel=1e-5)
    assert {name: after.metrics[name] for name in before.metrics} == before.metrics
    assert after.params == before.params and after.status == "FINISHED"
    assert store.artifacts(run, "evaluate") == ["evaluate/test-greedy-0", "evaluate/test-greedy-1"]
    facts = json.loads(store.artifact_path(run, "evaluate/test-greedy-1/evaluation.json").read_text())
    assert facts["own_data"] and facts["data_digest"] == before.facts["data"]
    assert facts["config"]["batch"] == {"sequences": 3, "tokens": None}


def test_scores_are_those_of_the_written_files(ltx, recorded, store, tmp_path) -> None:
    beam = ["decoding=beam", "decoding.num_beams=2"]
    code, out, _ = ltx("translator", *beam, "--output", str(tmp_path / "files"))
    assert code == 0 and "validation/beam-num_beams-2" in out
    lines = {name: (tmp_path / "files" / f"{name}.txt").read_text().splitlines() for name in ("output", "reference")}
    metrics = store.run(recorded[1]["translator"]).metrics
    prefix = "evaluate/validation/beam-num_beams-2"
    assert metrics[f"{prefix}/bleu"] == corpus_bleu(lines["output"], [lines["reference"]]).score
    assert metrics[f"{prefix}/chrf"] == corpus_chrf(lines["output"], [lines["reference"]]).score
    kept = store.artifact_path(recorded[1]["translator"], f"{prefix.replace('y/', 'y-').replace('n/', 'n-')}-0")
    for file in (tmp_path / "files").iterdir():
        assert (kept / file.name).read_text() == file.read_text()


def test_the_cache_is_measured(ltx, recorded, store) -> None:
    root, runs = recorded
    assert ltx("translator", "--split", "test", "trainer.batch_size=1000")[0] == 0
    loaded = load_run(runs["translator"], root=root)
    tokenizer = loaded.tokenizers.target
    folder = store.artifact_path(runs["translator"], "evaluate")
    sources = (folder / "test-greedy-0" / "source.txt").read_text().splitlines()
    inputs = [[*tokenizer.encode(source), tokenizer.eos_id] for source in sources]
    ids = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
    limits = [int(0.2 * len(source)) + 10 for source in inputs]
    alone = generate(loaded.model, inputs, Greedy(), **ids, max_new_tokens=limits, batch_size=1000)
    assert store.history(runs["translator"], "evaluate/test/greedy/cache_bytes")[-1][1] == alone.cache_bytes > 0


def test_a_task_that_writes_nothing_is_scored_as_well(ltx, recorded, store) -> None:
    run = recorded[1]["decoder"]
    code, out, _ = ltx("decoder")
    assert code == 0 and "tokens_per_second" not in out
    metrics = store.run(run).metrics
    for name in ("loss", "perplexity", "bits_per_byte"):
        assert metrics[f"evaluate/validation/{name}"] == pytest.approx(metrics[f"best/{name}"], rel=1e-5)
    assert store.artifacts(run, "evaluate") == ["evaluate/validation-0"]


def test_other_data_are_scored_when_asked_for_under_their_own_name(ltx, recorded, store, text, tmp_path) -> None:
    run, other = recorded[1]["decoder"], tmp_path / "other.txt"
    other.write_text(text.read_text().replace("make", "is"))
    before = store.run(run)
    code, _, err = ltx("decoder", f"data.path={other}")
    assert code == 2 and before.facts["data"] in err and "--other-data" in err
    assert store.run(run).metrics == before.metrics
    code, _, err = ltx("decoder", f"data.path={other}", "--other-data")
    assert code == 0 and "not the data" in err
    after = store.run(run)
    (tag,) = (name for name in after.tags if name.startswith("ltx.other_data."))
    assert after.tags[tag].startswith(tag.rpartition(".")[2])
    assert f"evaluate/other-{tag.rpartition('.')[2]}/validation/loss" in after.metrics
    # The same text at another place is the same data.
    other.write_text(text.read_text())
    assert ltx("decoder", f"data.path={other}")[0] == 0


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("decoder", ["--split", "test"], ["--split: ", "test split", "train (1), validation (1), test (0)"]),
        ("decoder", ["data.path=not/here"], ["data.path: ", "not/here"]),
        ("decoder", ["data=number_words", "--other-data"], ["data.name: ", "'number_words'", "single texts"]),
        ("decoder", ["trainer.batch_tokens=64"], ["trainer.batch_size: ", "null"]),
        ("decoder", ["trainer.max_steps=3", "positions"], ["2 problems", "trainer.max_steps: ", "positions: "]),
        ("translator", ["decoding=beam", "decoding.num_beam=3"], ["decoding.num_beam: ", "'num_beams'"]),
        ("translator", ["--output", __file__], ["--output: ", "is a file"]),
    ],
)
def test_bad_input_is_one_error_and_nothing_is_recorded(ltx, recorded, store, name, arguments, words) -> None:
    before = store.run(recorded[1][name]).metrics
    code, out, err = ltx(name, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and all(word in err for word in words), err
    assert store.run(recorded[1][name]).metrics == before


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"name": "beam", "num_beams": 5}, "beam"),
        ({"name": "beam", "num_beams": 4, "length_penalty": 0.6}, "beam-num_beams-4-length_penalty-0.6"),
        ({"name": "sample", "top_k": 5}, "sample-top_k-5"),
    ],
)
def test_labels_tell_decodings_apart(options: dict[str, Any], label: str) -> None:
    assert label_of(DECODING.parse(options)) == label
