import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from datasets import Dataset, DatasetDict, Features, Translation, Value, config

from lightning_tx.core.description import description
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import options_of
from lightning_tx.data.base import DATA, Splits
from lightning_tx.data.hf_dataset import HfDataset
from tests.data.examples import write

PAIRS = [("Ein Hund läuft.", "A dog runs."), ("Zwei Katzen.", "Two cats."), ("Drei.", "Three.")]
ROWS = [{"translation": {"de": source, "en": target}} for source, target in PAIRS]
COLUMNS = {"de": [source for source, _ in PAIRS], "en": [target for _, target in PAIRS]}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)


def json_folder(root: Path, rows: list[Any] = ROWS, splits: tuple[str, ...] = ("train", "validation")) -> Path:
    for split in splits:
        write(root / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return root


def load(path: Path, cache: Path, **options: Any) -> Splits[tuple[str, str]]:
    data = HfDataset(path=str(path), **options)
    assert data.problems() == []
    return data.load(cache)


def refused(path: Path | str, cache: Path, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        HfDataset(path=str(path), **options).load(cache)
    return caught.value.problems


def test_a_folder_of_json_files_with_a_column_of_translations(tmp_path: Path) -> None:
    path = json_folder(tmp_path / "data", splits=("train", "validation", "test"))
    splits = load(path, tmp_path / "cache")
    assert splits.train == splits.validation == PAIRS
    assert splits.test == []
    assert splits.skipped == {}
    backwards = load(path, tmp_path / "cache", source="en", target="de", test="test")
    assert backwards.train == backwards.test == [(target, source) for source, target in PAIRS]
    assert HfDataset.texts_per_example == 2


def test_parquet_files_as_the_hub_keeps_them(tmp_path: Path) -> None:
    features = Features({"translation": Translation(languages=["de", "en"])})
    for split in ("train", "validation"):
        folder = tmp_path / "data" / "de-en" / split
        folder.mkdir(parents=True)
        Dataset.from_list(ROWS, features=features).to_parquet(folder / "0000.parquet")
    assert load(tmp_path / "data", tmp_path / "cache", data_dir="de-en").train == PAIRS


def test_csv_files_with_a_column_for_each_language(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write(tmp_path / "data" / f"{split}.csv", "en,de\n" + "".join(f'"{en}","{de}"\n' for de, en in PAIRS))
    assert load(tmp_path / "data", tmp_path / "cache", column=None).train == PAIRS


@pytest.mark.parametrize("typed", [True, False])
def test_what_save_to_disk_made(tmp_path: Path, typed: bool) -> None:
    features = Features({"translation": Translation(languages=["de", "en"])}) if typed else None
    split = Dataset.from_list(ROWS, features=features)
    DatasetDict({"train": split, "dev": split}).save_to_disk(tmp_path / "data")
    assert load(tmp_path / "data", tmp_path / "cache", validation="dev").validation == PAIRS
    assert HfDataset(path=str(tmp_path / "data")).problems() == [
        f"data.validation: '{tmp_path}/data' has no split 'validation'. Splits: dev, train."
    ]


def test_saved_columns(tmp_path: Path) -> None:
    split = Dataset.from_dict(COLUMNS)
    DatasetDict({"train": split, "validation": split}).save_to_disk(tmp_path / "data")
    assert load(tmp_path / "data", tmp_path / "cache", column=None).train == PAIRS


def test_missing_sentences_are_empty_ones(tmp_path: Path) -> None:
    rows = [*ROWS, {"translation": {"de": None, "en": "x"}}, {"translation": None}]
    split = Dataset.from_list(rows, features=Features({"translation": {"de": Value("string"), "en": Value("string")}}))
    DatasetDict({"train": split, "validation": split}).save_to_disk(tmp_path / "data")
    splits = load(tmp_path / "data", tmp_path / "cache")
    assert splits.train == splits.validation == PAIRS
    assert splits.skipped == {"train_empty": 2, "validation_empty": 2}


def test_the_options_of_cleaning_and_filters_reach_the_pairs(tmp_path: Path) -> None:
    rows = [{"de": "<b>EIN</b> Hund*", "en": "A www.x.org ﬁne dog"}, {"de": "Zwei", "en": "Two"}, {"de": "b", "en": ""}]
    options: dict[str, Any] = {
        "strip_html": True,
        "strip_urls": True,
        "core_characters": True,
        "lowercase": True,
        "normalize": "NFKC",
    }
    splits = load(json_folder(tmp_path / "data", rows), tmp_path / "cache", column=None, min_words=2, **options)
    assert splits.train == [("ein hund", "a fine dog")]
    assert splits.validation == [("ein hund", "a fine dog"), ("zwei", "two")]
    assert splits.skipped == {"train_empty": 1, "train_too_short": 1, "validation_empty": 1}
    limits: dict[str, Any] = {"max_words": 2, "max_ratio": 1.0}
    assert load(tmp_path / "data", tmp_path / "cache", column=None, **options, **limits).skipped == {
        "train_empty": 1,
        "train_too_long": 1,
        "validation_empty": 1,
    }


def test_a_subset_is_read_no_further_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"translation": {"de": f"Satz {number}", "en": f"sentence {number}"}} for number in range(5000)]
    json_folder(tmp_path / "data", rows, ("train",))
    json_folder(tmp_path / "data", ROWS, ("validation",))
    whole = load(tmp_path / "data", tmp_path / "cache")
    assert len(whole.train) == 5000
    read: list[int] = []
    module = importlib.import_module("lightning_tx.data.hf_dataset")
    texts = module._texts

    def counted(table: Any, column: str | None, language: str) -> list[str]:
        read.append(table.num_rows)
        return texts(table, column, language)

    monkeypatch.setattr(module, "_texts", counted)
    splits = load(tmp_path / "data", tmp_path / "cache", subset=1200)
    assert splits.train == whole.train[:1200]
    assert splits.skipped == {"train_beyond_subset": 3800}
    assert sum(read) == 2 * (2000 + len(ROWS))


def test_slices_of_a_split(tmp_path: Path) -> None:
    json_folder(tmp_path / "data", splits=("train",))
    splits = load(tmp_path / "data", tmp_path / "cache", train="train[:2]", validation="train[2:]")
    assert (splits.train, splits.validation) == (PAIRS[:2], PAIRS[2:])


def test_prepared_files_go_into_the_cache_and_follow_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", home)
    json_folder(tmp_path / "data")
    first = load(tmp_path / "data", tmp_path / "cache")
    assert list((tmp_path / "cache" / "datasets").rglob("*.arrow"))
    assert not home.exists()
    assert load(tmp_path / "data", tmp_path / "cache").digest == first.digest
    json_folder(tmp_path / "data", [*ROWS, {"translation": {"de": "Vier.", "en": "Four."}}])
    assert len(load(tmp_path / "data", tmp_path / "cache").train) == 4


def test_the_libraries_are_quiet_and_left_as_they_were(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = json_folder(tmp_path / "data")
    names = ("datasets", "huggingface_hub", "httpx")
    before = [logging.getLogger(name).level for name in names]
    datasets.logging.set_verbosity(logging.DEBUG)
    try:
        load(path, tmp_path / "cache")
        refused(path, tmp_path / "cache", train="trian")
        assert datasets.logging.get_verbosity() == logging.DEBUG
    finally:
        datasets.logging.set_verbosity(before[0])
    assert [logging.getLogger(name).level for name in names] == before
    assert not datasets.are_progress_bars_disabled()
    assert not huggingface_hub.utils.are_progress_bars_disabled()
    assert capfd.readouterr() == ("", "")


def test_a_column_that_is_not_there_or_holds_no_sentences(tmp_path: Path) -> None:
    rows = [{"translations": {"de": "a", "en": "b", "id": 1}, "de": "a", "en": "b", "n": 3}]
    path = json_folder(tmp_path / "data", rows)
    cache = tmp_path / "cache"
    where = f"split 'train' of '{path}'"
    columns = "Columns: de, en, n, translations."
    hint = "Where each language is a column, set data.column=null."
    for options, problem in (
        ({}, f"data.column: {where} has no column 'translation'. Did you mean 'translations'? {columns} {hint}"),
        ({"column": "de"}, f"data.column: 'de' of {where} holds string, not a mapping from language to text."),
        ({"column": "translations", "source": "fr"}, f"data.source: {where} has no 'fr'. There are: de, en, id."),
        ({"column": "translations", "target": "id"}, f"data.target: 'id' of {where} holds int64, not text."),
        ({"column": None, "target": "n"}, f"data.target: 'n' of {where} holds int64, not text."),
    ):
        assert refused(path, cache, **options) == [problem, problem.replace("'train'", "'validation'")]


def test_a_failure_of_the_hub_is_one_problem_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = refused("owner/no-such-data", tmp_path)
    assert problem.startswith("data.path: 'owner/no-such-data' cannot be loaded: ConnectionError: Couldn't reach")
    asked: dict[str, Any] = {}

    def fail(path: str, **options: Any) -> None:
        asked.update(options, path=path)
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    options: dict[str, Any] = {
        "config": "de-en",
        "revision": "abc",
        "data_dir": "d",
        "train": "t",
        "validation": "v",
        "test": "u",
    }
    assert refused("wmt/wmt17", tmp_path, **options) == [
        "data.path: 'wmt/wmt17' cannot be loaded: RuntimeError: two lines"
    ]
    assert asked == {
        "path": "wmt/wmt17",
        "name": "de-en",
        "revision": "abc",
        "data_dir": "d",
        "split": ["t", "v", "u"],
        "cache_dir": str(tmp_path / "datasets"),
    }
    assert not datasets.are_progress_bars_disabled()


def test_what_the_library_refuses_is_one_problem(tmp_path: Path) -> None:
    path = json_folder(tmp_path / "data")
    for options, reason in (
        ({"train": "trian"}, 'Unknown split "trian". Should be one of'),
        ({"config": "fr-en"}, "BuilderConfig 'fr-en' not found"),
    ):
        (problem,) = refused(path, tmp_path / "cache", **options)
        assert problem.startswith(f"data.path: '{path}' cannot be loaded: ValueError: ")
        assert reason in problem
    write(tmp_path / "broken" / "train.jsonl", '{"translation": {"de"\n')
    (problem,) = refused(tmp_path / "broken", tmp_path / "cache")
    assert problem.startswith(f"data.path: '{tmp_path}/broken' cannot be loaded: ")
    # The library says of each that an error occurred; what it was is said by another's error.
    assert ", because of " in problem and "JSON parse error" in problem
    (tmp_path / "empty").mkdir()
    assert len(refused(tmp_path / "empty", tmp_path / "cache")) == 1


def test_without_the_library_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = HfDataset(path=str(json_folder(tmp_path / "data")))
    monkeypatch.setitem(sys.modules, "datasets", None)
    (problem,) = data.problems()
    assert problem.startswith("data.name: hf_dataset needs the library 'datasets'")
    assert "pip install 'lightning_tx[hf]'" in problem
    with pytest.raises(ConfigError, match=r"lightning_tx\[hf\]"):
        data.load(tmp_path)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (problem,) = HfDataset(path=str(tmp_path / "missing")).problems()
    assert problem.startswith(f"data.path: the folder '{tmp_path}/missing' does not exist (looked from ")
    file = write(tmp_path / "train.jsonl", "{}")
    assert HfDataset(path=str(file)).problems() == [f"data.path: '{file}' is a file; give the folder it is in."]
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
    (problem,) = HfDataset(path=str(tmp_path / "one")).problems()
    assert problem.startswith(f"data.path: '{tmp_path}/one' is one saved split; ")
    write(tmp_path / "damaged" / "dataset_dict.json", "{")
    (problem,) = HfDataset(path=str(tmp_path / "damaged")).problems()
    assert problem.endswith("is damaged; save the data set again.")
    for name in ("multi30k", "bentrevett/multi30k", "wmt/wmt17"):
        assert HfDataset(path=name).problems() == []


def test_options_without_a_meaning_are_refused(tmp_path: Path) -> None:
    json_folder(tmp_path / "data")
    DatasetDict({"train": Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "saved")
    given: dict[str, Any] = {"config": "a", "revision": "b", "data_dir": "c"}
    problems = HfDataset(path=str(tmp_path / "data"), target="de", min_words=3, max_words=2, **given).problems()
    assert [problem.partition(":")[0] for problem in problems] == ["data.min_words", "data.target", "data.revision"]
    problems = HfDataset(path=str(tmp_path / "saved"), validation="train", **given).problems()
    assert [problem.partition(":")[0] for problem in problems] == ["data.config", "data.revision", "data.data_dir"]


def test_every_option_is_described_and_checked() -> None:
    described = description(HfDataset)
    assert all(f"\n    {option.name}:" in described for option in options_of(HfDataset))
    options = {"name": "hf_dataset", "config": "", "column": "", "subset": 0, "normalize": None, "test": 1}
    assert {problem.partition(":")[0] for problem in DATA.problems(options)} == {
        f"data.{key}" for key in options.keys() - {"name"} | {"path"}
    }
