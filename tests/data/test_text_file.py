import os
from pathlib import Path

import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.data import text_file
from lightning_tx.data.base import DATA
from lightning_tx.data.text_file import TextFile
from tests.data.examples import write

TEXT = "It was a bright cold day in April.\nÉté, 日本.\n" * 5


def test_a_file_is_one_document(tmp_path: Path) -> None:
    splits = TextFile(path=str(write(tmp_path / "a.txt", TEXT))).load(tmp_path)
    assert splits.train == [TEXT[: int(len(TEXT) * 0.9)]]
    assert splits.validation == [TEXT[int(len(TEXT) * 0.9) :]]
    assert splits.test == []


def test_a_folder_has_a_document_per_file_in_the_order_of_their_paths(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "b" * 10)
    write(tmp_path / "a" / "z.txt", "a" * 10)
    write(tmp_path / "c.txt", "c" * 10)
    write(tmp_path / "ignored.md", "no")
    splits = TextFile(path=str(tmp_path), validation_fraction=0.2, test_fraction=0.1).load(tmp_path)
    assert splits.train == ["a" * 10, "b" * 10, "c"]
    assert splits.validation == ["c" * 6]
    assert splits.test == ["c" * 3]


def test_glob_chooses_the_files_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a" * 10)
    write(tmp_path / "b.md", "b" * 10)
    assert "".join(TextFile(path=str(tmp_path), glob="*.md").load(tmp_path).train) == "b" * 9


def test_line_ends_and_byte_order_mark_of_other_systems(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree")
    splits = TextFile(path=str(file)).load(tmp_path)
    assert "".join([*splits.train, *splits.validation]) == "one\ntwo\nthree"


def test_a_path_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.txt", TEXT)
    assert TextFile(path="~/a.txt").problems() == []


def test_problems_do_not_load_and_load_raises_the_same(tmp_path: Path) -> None:
    data = TextFile(path=str(tmp_path / "missing"))
    with pytest.raises(ConfigError) as caught:
        data.load(tmp_path)
    assert caught.value.problems == data.problems()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty."),
        (b" \n\t \xc2\xa0", "holds nothing but white space."),
        (b"\xef\xbb\xbf", "holds nothing but white space."),
        (b"text\0more", "is binary, not text: byte 4 is zero."),
        (b"caf\xe9 au lait", "is not UTF-8 text: byte 3 is not valid."),
        (b"x" * 50 + b"\xe2\x82", "is not UTF-8 text: byte 50 is not valid."),
        (b"a" * ((1 << 20) - 1) + b"\xe2\x82\xacok\xff", f"is not UTF-8 text: byte {(1 << 20) + 4} is not valid."),
        (b"a" * ((1 << 20) - 1) + b"\xe2\x28", f"is not UTF-8 text: byte {(1 << 20) - 1} is not valid."),
        ("über".encode("utf-16-be"), "is binary, not text: byte 0 is zero."),
    ],
)
def test_a_file_that_is_not_text(tmp_path: Path, content: bytes, problem: str) -> None:
    file = write(tmp_path / "a.txt", content)
    assert TextFile(path=str(file)).problems() == [f"data.path: '{file}' {problem}"]


def test_a_character_across_two_chunks_is_fine(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", b"a" * ((1 << 20) - 1) + "€".encode() + b"b" * 10)
    assert TextFile(path=str(file)).problems() == []


def test_every_unusable_file_of_a_folder_is_named_up_to_a_point(tmp_path: Path) -> None:
    write(tmp_path / "good.txt", TEXT)
    for number in range(14):
        write(tmp_path / f"empty{number:02}.txt", b"")
    problems = TextFile(path=str(tmp_path)).problems()
    assert len(problems) == 11
    assert "empty00.txt" in problems[0]
    assert problems[-1] == f"data.path: 4 more files below '{tmp_path}' are unusable."


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    (problem,) = TextFile(path=str(tmp_path / "missing.txt")).problems()
    assert problem.startswith(f"data.path: '{tmp_path}/missing.txt' does not exist")


def test_a_folder_without_text_files(tmp_path: Path) -> None:
    write(tmp_path / "a.md", TEXT)
    (problem,) = TextFile(path=str(tmp_path)).problems()
    assert problem == f"data.path: the folder '{tmp_path}' has no file that matches data.glob '*.txt'."


def test_a_pattern_that_is_none(tmp_path: Path) -> None:
    (problem,) = TextFile(path=str(tmp_path), glob="/absolute/*.txt").problems()
    assert problem.startswith("data.glob: '/absolute/*.txt' is not a pattern for files of a folder")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    problems = TextFile(path=str(tmp_path / "no"), validation_fraction=0.6, test_fraction=0.4).problems()
    assert [problem.partition(":")[0] for problem in problems] == ["data.validation_fraction", "data.path"]


def test_text_too_short_to_split(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "x")
    with pytest.raises(ConfigError, match=r"^data.path: .* has 1 characters, too few to split"):
        TextFile(path=str(file)).load(tmp_path)


def test_path_has_no_default_and_options_are_checked() -> None:
    assert DATA.problems({"name": "text_file"}) == ["data.path: missing; it has no default."]
    config = {"name": "text_file", "path": "", "validation_fraction": 0, "test_fraction": 1.0}
    assert [problem.partition(":")[0] for problem in DATA.problems(config)] == [
        "data.path",
        "data.validation_fraction",
        "data.test_fraction",
    ]


def test_several_patterns(tmp_path: Path) -> None:
    for name, text in (("a.md", "a" * 10), ("b.txt", "b" * 10), ("c.rst", "c" * 10)):
        (tmp_path / name).write_text(text)
    found = TextFile(path=str(tmp_path), glob=["*.md", "*.txt", "b.*"], validation_fraction=0.01)
    assert found.load(tmp_path).train == ["a" * 10, "b" * 9]
    (problem,) = TextFile(path=str(tmp_path), glob=["*.py", "*.c"]).problems()
    assert problem.endswith("has no file that matches data.glob '*.py' or '*.c'.")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_what_is_no_file_is_neither_read_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    (tmp_path / "around").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "pipe.txt", tmp_path / "loop.txt", Path("/dev/zero")):
        (problem,) = TextFile(path=str(path)).problems()
        assert problem.startswith("data.path: ")
    (tmp_path / "text.txt").write_text("some text, once")
    assert "".join(TextFile(path=str(tmp_path)).load(tmp_path).train) == "some text, on"


def test_a_folder_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "MOST_ENTRIES", 5)
    for number in range(4):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "a.txt").write_text("text")
    (problem,) = TextFile(path=str(tmp_path)).problems()
    assert problem == (
        f"data.path: the folder '{tmp_path}' holds more than 5 files and folders; name one that holds the texts alone."
    )
