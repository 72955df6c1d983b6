import json
from pathlib import Path

from lightning_tx.tracking.dataset import log_dataset


def inputs(store, run) -> list[dict]:
    """The data of a run as MLflow has them."""
    return store.client.get_run(run.run_id).inputs.to_dictionary()["dataset_inputs"]


def test_a_run_has_its_data_by_a_relative_path(store, tracked, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with tracked() as run:
        for _ in range(2):  # a run that is resumed says it again
            log_dataset(
                store,
                run.run_id,
                name="text_file",
                digest="0123456789abcdef" * 4,
                place=tmp_path / "texts" / "a.txt",
                counts={"train": 3, "too_long": 1},
            )
    (entry,) = inputs(store, run)
    assert entry["tags"] == {"mlflow.data.context": "training"}
    data = entry["dataset"]
    assert (data["name"], data["digest"]) == ("text_file", ("0123456789abcdef" * 4)[:36])
    assert data["source_type"] == "local" and json.loads(data["source"]) == {"uri": "texts/a.txt"}
    assert json.loads(data["profile"]) == {"train": 3, "too_long": 1}


def test_data_without_a_place_are_named(store, tracked) -> None:
    with tracked() as run:
        log_dataset(store, run.run_id, name="number_words", digest="abc", place=None, counts={})
    (entry,) = inputs(store, run)
    assert json.loads(entry["dataset"]["source"]) == {"tags": {"data": "number_words"}}
