import gzip
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_tx.core.description import description
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import options_of
from lightning_tx.data import parallel_files as module
from lightning_tx.data.base import DATA, Splits
from lightning_tx.data.parallel_files import ParallelFiles
from tests.data.examples import write

GERMAN = ["Ein Hund läuft.", "Zwei Katzen.", "Drei."]
ENGLISH = ["A dog runs.", "Two cats.", "Three."]


def folder(
    root: Path, source: list[str] = GERMAN, target: list[str] = ENGLISH, stems: tuple[str, ...] = ("train", "val")
) -> Path:
    for stem in stems:
        write(root / f"{stem}.de", "".join(f"{line}\n" for line in source))
        write(root / f"{stem}.en", "".join(f"{line}\n" for line in target))
    return root


def load(path: Path, **options: Any) -> Splits[tuple[str, str]]:
    data = ParallelFiles(path=str(path), **options)
    assert data.problems() == []
    return data.load(path)


def refused(path: Path, **options: Any) -> list[str]:
    """What ``load`` refuses; ``problems`` has found it before."""
    data = ParallelFiles(path=str(path), **options)
    with pytest.raises(ConfigError) as caught:
        data.load(path)
    assert data.problems() == caught.value.problems
    return caught.value.problems


def test_lines_that_stand_side_by_side_are_pairs(tmp_path: Path) -> None:
    splits = load(folder(tmp_path))
    assert splits.train == splits.validation == list(zip(GERMAN, ENGLISH, strict=True))
    assert splits.test == []
    assert splits.skipped == {}
    assert ParallelFiles.texts_per_example == 2


def test_either_language_may_be_the_source_and_stems_are_free(tmp_path: Path) -> None:
    folder(tmp_path, stems=("a.b", "sub/dev", "test_2016"))
    splits = load(tmp_path, source="en", target="de", train="a.b", validation="sub/dev", test="test_2016")
    assert splits.train == splits.validation == splits.test == list(zip(ENGLISH, GERMAN, strict=True))


def test_compressed_files_are_read_where_there_are_no_plain_ones(tmp_path: Path) -> None:
    folder(tmp_path)
    plain = load(tmp_path)
    for name in ("train.de", "val.en"):
        file = tmp_path / name
        write(tmp_path / f"{name}.gz", gzip.compress(file.read_bytes()))
        file.unlink()
    write(tmp_path / "train.en.gz", gzip.compress(b"not this one\n"))
    assert load(tmp_path).digest == plain.digest


def test_a_line_ends_with_a_line_feed_alone(tmp_path: Path) -> None:
    write(tmp_path / "train.de", "\ufeffeins\r\nz\u2028w\x0be\x85i\rx\r\r\ndrei".encode())
    write(tmp_path / "train.en", b"one\ntwo\nthree")
    folder(tmp_path, stems=("val",))
    assert load(tmp_path).train == [("eins", "one"), ("z w e i x", "two"), ("drei", "three")]


def test_blank_lines_count_as_lines_and_are_left_out_everywhere(tmp_path: Path) -> None:
    source = ["a", "", "c", " \u00a0", "e"]
    target = ["1", "2", "\t", " ", "5"]
    splits = load(folder(tmp_path, source, target, ("train", "val", "test")), test="test")
    assert splits.train == splits.validation == splits.test == [("a", "1"), ("e", "5")]
    assert splits.skipped == {"train_empty": 3, "validation_empty": 3, "test_empty": 3}


def test_what_is_left_out_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load(folder(tmp_path, ["a", "b b"], ["", "b"]), max_ratio=2)
    assert caplog.messages == ["Pairs left out: train_empty 1, validation_empty 1; kept for training: 1."]


def test_every_split_is_cleaned_and_only_training_is_filtered(tmp_path: Path) -> None:
    source = [
        "EINS",
        "<b>zwei</b> ZWEI",
        "drei drei drei",
        "vier www.x.de vier vier vier",
        "a b c d e f",
        "g g",
        "<br>",
    ]
    target = ["ONE", "two &amp;", "three three", "four four", "a b", "h", "x"]
    options: dict[str, Any] = {
        "strip_html": True,
        "strip_urls": True,
        "lowercase": True,
        "min_words": 2,
        "max_words": 4,
        "max_ratio": 1.5,
    }
    splits = load(folder(tmp_path, source, target), **options)
    assert splits.train == [("zwei zwei", "two &"), ("drei drei drei", "three three")]
    assert splits.validation == [
        ("eins", "one"),
        ("zwei zwei", "two &"),
        ("drei drei drei", "three three"),
        ("vier vier vier vier", "four four"),
        ("a b c d e f", "a b"),
        ("g g", "h"),
    ]
    assert splits.skipped == {
        "train_empty": 1,
        "train_too_short": 2,
        "train_too_long": 1,
        "train_ratio": 1,
        "validation_empty": 1,
    }


@pytest.mark.parametrize("side", [0, 1])
def test_limits_are_met_exactly_and_on_either_side(tmp_path: Path, side: int) -> None:
    long, short = ["w " * n for n in (1, 2, 4, 5, 6)], ["w " * n for n in (1, 1, 2, 2, 3)]
    files = (long, short) if side == 0 else (short, long)
    lengths = [len(pair[side].split()) for pair in load(folder(tmp_path, *files), max_words=5, max_ratio=2.0).train]
    assert lengths == [1, 2, 4]
    assert [len(pair[side].split()) for pair in load(tmp_path, min_words=2).train] == [4, 5, 6]


def test_a_subset_is_the_first_pairs_that_pass_and_a_larger_one_holds_it(tmp_path: Path) -> None:
    lines = ["w " * (number % 4) + str(number) for number in range(100)]
    folder(tmp_path, lines, lines)
    whole = load(tmp_path, min_words=2)
    for size in (1, 10, 74, 75):
        splits = load(tmp_path, min_words=2, subset=size)
        assert splits.train == whole.train[:size]
        assert splits.validation == whole.validation
        assert sum(splits.skipped.values()) + size == 100
        assert splits.skipped.get("train_beyond_subset", 0) == sum(
            int(line.split()[-1]) > int(splits.train[-1][0].split()[-1]) for line in lines
        )
    assert load(tmp_path, min_words=2, subset=1000).digest == whole.digest


def test_everything_filtered_away_names_what_each_filter_took(tmp_path: Path) -> None:
    folder(tmp_path, ["a", "", "b b b b", "c c c c c c"], ["a", "x", "b b b", "c c c"])
    data = ParallelFiles(path=str(tmp_path), min_words=3, max_words=5, max_ratio=1.25)
    with pytest.raises(ConfigError) as caught:
        data.load(tmp_path)
    assert caught.value.problems == [
        f"data.train: none of the 4 pairs of '{tmp_path}/train.de' and '{tmp_path}/train.en' is left: 1 empty on a "
        "side after cleaning, 1 below min_words 3, 1 above max_words 5, 1 above max_ratio 1.25."
    ]


def test_validation_with_nothing_to_translate_is_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    folder(tmp_path, ["<br>", ""], ["x", "y"], ("val",))
    with pytest.raises(ConfigError, match=r"^data.validation: none of the 2 pairs .* left: 2 empty on a side"):
        ParallelFiles(path=str(tmp_path), strip_html=True).load(tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"ok\ncaf\xe9 au lait\n", "is not UTF-8 text: byte 4 of line 2, 0xe9, is not valid."),
        (b"\xff\n", "is not UTF-8 text: byte 1 of line 1, 0xff, is not valid."),
        (b"a\n\nb\xe2\x82\nc\n", "is not UTF-8 text: byte 2 of line 3, 0xe2, is not valid."),
        (b"a\nb\xe2\x82", "is not UTF-8 text: byte 2 of line 2, 0xe2, is not valid."),
        (b"surrogate \xed\xa0\x80\n", "is not UTF-8 text: byte 11 of line 1, 0xed, is not valid."),
        (b"a\nb\0c\n", "is binary, not text: line 2 has a zero byte."),
    ],
)
def test_malformed_text_is_named_by_file_and_line(tmp_path: Path, content: bytes, problem: str, suffix: str) -> None:
    folder(tmp_path)
    (tmp_path / "val.en").unlink()
    file = write(tmp_path / f"val.en{suffix}", gzip.compress(content) if suffix else content)
    assert refused(tmp_path) == [f"data.validation: '{file}' {problem}"]


@pytest.mark.parametrize("lines_before", [1, 999, 30_000])
def test_the_line_is_right_in_a_file_of_several_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines_before: int
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 1000)
    folder(tmp_path)
    write(tmp_path / "train.de", "ä\n".encode() * lines_before + b"x\x80\n" + b"y\n" * 50)
    (problem,) = refused(tmp_path)
    assert problem.endswith(f"byte 2 of line {lines_before + 1}, 0x80, is not valid.")


@pytest.mark.parametrize("longer", ["de", "en"])
def test_files_of_different_length_name_the_first_line_without_a_counterpart(tmp_path: Path, longer: str) -> None:
    folder(tmp_path)
    file = tmp_path / f"train.{longer}"
    write(file, file.read_bytes() + "Vier Vögel.\nFünf.\n".encode())
    counts = {"de": 3, "en": 3} | {longer: 5}
    assert refused(tmp_path) == [
        f"data.train: '{tmp_path}/train.de' has {counts['de']} lines and '{tmp_path}/train.en' has {counts['en']}: "
        f"line 4 of '{file}' is the first without a counterpart: 'Vier Vögel.'."
    ]


def test_a_last_line_without_an_end_counts_and_one_that_is_blank_too(tmp_path: Path) -> None:
    folder(tmp_path)
    write(tmp_path / "train.de", b"a\nb\nc")
    assert len(load(tmp_path).train) == 3
    write(tmp_path / "train.de", b"a\nb\nc\n\n")
    (problem,) = refused(tmp_path)
    assert problem.endswith(f"line 4 of '{tmp_path}/train.de' is the first without a counterpart: ''.")


def test_empty_files_are_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    folder(tmp_path, [], [], ("val",))
    assert refused(tmp_path) == [f"data.validation: '{tmp_path}/val.de' and '{tmp_path}/val.en' are empty."]


#: Without the time of packing, by which each process would name these tests in another way.
PACKED = gzip.compress(b"text\n" * 1000, mtime=0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"plain text\n", "Not a gzipped file"),
        (PACKED[:-20], "ended before the end-of-stream marker"),
        (PACKED[:-8] + b"\0" * 8, "CRC check failed"),
        (PACKED[:12] + b"\xff" * 40, "invalid"),
    ],
    ids=["plain", "cut short", "wrong checksum", "garbage"],
)
def test_a_file_that_cannot_be_decompressed(tmp_path: Path, content: bytes, reason: str) -> None:
    folder(tmp_path)
    (tmp_path / "train.en").unlink()
    file = write(tmp_path / "train.en.gz", content)
    (problem,) = refused(tmp_path)
    assert problem.startswith(f"data.train: '{file}' cannot be decompressed: ")
    assert reason in problem


def test_missing_files_are_all_named_with_what_there_is(tmp_path: Path) -> None:
    folder(tmp_path)
    write(tmp_path / "val.fr.gz", b"")
    write(tmp_path / "README", b"")
    has = f"'{tmp_path}' has these stems (and suffixes): train (de, en), val (de, en, fr)."
    assert refused(tmp_path, validation="valid", test="test", target="fr") == [
        f"data.{split}: '{tmp_path}/{stem}.{suffix}' does not exist, nor does it with .gz. {has}"
        for split, stem, suffix in (
            ("train", "train", "fr"),
            ("validation", "valid", "de"),
            ("validation", "valid", "fr"),
            ("test", "test", "de"),
            ("test", "test", "fr"),
        )
    ]


def test_a_folder_of_many_or_no_files_is_summed_up(tmp_path: Path) -> None:
    assert refused(tmp_path)[0].endswith("nor does it with .gz. " + f"'{tmp_path}' has no such files.")
    folder(tmp_path, stems=tuple(f"part{number:02}" for number in range(13)))
    assert refused(tmp_path)[0].endswith("part09 (de, en), 3 more.")


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path / "missing")
    assert problem.startswith(f"data.path: '{tmp_path}/missing' does not exist (looked from ")
    assert refused(write(tmp_path / "file", "x")) == [f"data.path: '{tmp_path}/file' is not a folder."]


def test_large_files_are_read_through_only_when_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path)
    write(tmp_path / "train.de", b"\xff" * 2000)
    data = ParallelFiles(path=str(tmp_path))
    assert len(data.problems()) == 1
    monkeypatch.setattr(module, "_CHECKED_EARLY_BYTES", 1000)
    assert data.problems() == []
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        data.load(tmp_path)


def test_options_that_exclude_each_other_are_told_with_the_rest(tmp_path: Path) -> None:
    data = ParallelFiles(path=str(tmp_path / "no"), source="de", target="de", min_words=5, max_words=4)
    assert [problem.partition(":")[0] for problem in data.problems()] == ["data.min_words", "data.target", "data.path"]
    assert data.problems()[0] == "data.min_words: 5 is more than data.max_words 4."
    with pytest.raises(ConfigError, match=r"data\.min_words"):
        ParallelFiles(path=str(folder(tmp_path)), min_words=5, max_words=4).load(tmp_path)


def test_options_are_checked() -> None:
    config = {
        "name": "parallel_files",
        "normalize": "NFD",
        "min_words": 0,
        "max_words": 0,
        "max_ratio": 0.5,
        "subset": 0,
        "source": "",
        "lowercase": 1,
    }
    assert {problem.partition(":")[0] for problem in DATA.problems(config)} == {
        f"data.{key}" for key in config.keys() - {"name"} | {"path"}
    }


def test_every_option_is_described() -> None:
    described = description(ParallelFiles)
    assert all(f"\n    {option.name}:" in described for option in options_of(ParallelFiles))


def test_ten_thousand_pairs_take_a_fraction_of_a_second(tmp_path: Path) -> None:
    lines = ["Ein Mann mit einem <b>orangefarbenen</b> Hut, der &amp; www.x.de etwas anstarrt."] * 10_000
    folder(tmp_path, lines, lines)
    start = time.process_time()
    load(tmp_path, strip_html=True, strip_urls=True, core_characters=True, lowercase=True, normalize="NFKC")
    assert time.process_time() - start < 3


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_lines_may_end_in_carriage_returns_alone(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    for stem in ("train", "val"):
        for language in ("de", "en"):
            content = "".join(f"{language} {number}\r" for number in range(40_000)).encode()
            (tmp_path / f"{stem}.{language}{suffix}").write_bytes(pack(content))
    train = load(tmp_path).train
    assert (len(train), train[0], train[-1]) == (40_000, ("de 0", "en 0"), ("de 39999", "en 39999"))
