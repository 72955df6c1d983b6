import multiprocessing
import time
from pathlib import Path

import pytest

from lightning_tx.data.storage import build_once, digest_of, digest_of_texts, has_content
from tests.data import workers

SPAWN = multiprocessing.get_context("spawn")


def test_only_the_first_of_several_processes_builds(tmp_path: Path) -> None:
    target, journal = tmp_path / "cache" / "file", tmp_path / "journal"
    processes = [SPAWN.Process(target=workers.build_slowly, args=(target, journal)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert target.read_text() == "built"
    assert len(journal.read_text().splitlines()) == 1


def test_what_a_killed_process_left_is_removed_and_built_anew(tmp_path: Path) -> None:
    target, journal = tmp_path / "folder", tmp_path / "journal"
    process = SPAWN.Process(target=workers.build_folder_halfway, args=(target, journal))
    process.start()
    deadline = time.monotonic() + 30
    while not journal.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join(30)
    assert not target.exists()

    def build(path: Path) -> None:
        path.mkdir()
        (path / "second").write_text("written")

    build_once(target, build)
    assert [file.name for file in target.iterdir()] == ["second"]
    assert not list(tmp_path.glob("*.partial"))


def test_nothing_is_built_where_the_target_is_complete(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("there")
    build_once(tmp_path / "file", lambda path: pytest.fail("built again"))
    assert (tmp_path / "file").read_text() == "there"


def test_an_incomplete_target_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("")

    def build(path: Path) -> None:
        path.mkdir()
        (path / "mark").write_text("")

    build_once(target, build, is_complete=lambda path: (path / "mark").exists())
    assert [file.name for file in target.iterdir()] == ["mark"]


def test_an_empty_file_does_not_count_as_built(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not has_content(tmp_path / "file")
    build_once(tmp_path / "file", lambda path: path.write_text("built") and None)
    assert has_content(tmp_path / "file")


def test_a_failed_build_publishes_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once(tmp_path / "file", fail)
    assert not (tmp_path / "file").exists()
    build_once(tmp_path / "file", lambda path: path.write_text("whole") and None)
    assert (tmp_path / "file").read_text() == "whole"


def test_digests_fit_mlflow_and_see_borders_between_texts() -> None:
    assert len(digest_of({"a": 1})) == len(digest_of_texts(["a"])) == 32
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    digests = {digest_of_texts(texts) for texts in (["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ["abc", ""], [])}
    assert len(digests) == 6
