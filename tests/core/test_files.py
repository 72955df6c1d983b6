from pathlib import Path

import pytest

from lightning_tx.core.files import replaced


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with replaced(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    with replaced(path) as partial:
        partial.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second" and [*path.parent.iterdir()] == [path]


def half(path: Path, error: BaseException) -> None:
    with replaced(path) as partial:
        partial.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there_and_nothing_beside(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_text("first")
    with pytest.raises(type(error)) as caught:
        half(path, error)
    assert path.read_text() == "first" and [*tmp_path.iterdir()] == [path]
    assert not isinstance(error, OSError) or str(caught.value) == f"[Errno 28] No space left on device: '{path}'"


def test_a_folder_replaces_one_and_what_a_killed_process_left(tmp_path: Path) -> None:
    path, left = tmp_path / "folder", tmp_path / "folder.partial"
    for folder in (path, left):
        folder.mkdir()
        (folder / "old").touch()
    with replaced(path) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert [*tmp_path.iterdir()] == [path] and [*path.iterdir()] == [path / "new"]
