import inspect
import json
import logging
import pydoc_data.topics
import shutil
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.base import DATA, Splits
from lightning_tx.data.python_docs import PythonDocs
from tests.data.examples import write

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))

SOURCE = '''
"""The module's own docstring, long enough to be kept."""
raise SystemExit("this file was imported")

class Outer:
    """The docstring of a class,

        with an indented line
    and one that is not.
    """

    async def method(self):
        """The docstring of a coroutine, with an escape \\d that Python warns of."""

        def inner():
            """The docstring of a function inside of a function."""

def short():
    """Too short."""

def again():
    """The module's own docstring, long enough to be kept."""

def half_a_pair():
    """A docstring with half of a surrogate pair in it: \\ud83d and that is all."""

def none():
    text = "not a docstring, although it is a long enough string"
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A standard library that is quick to read."""
    folder = tmp_path / "library"
    write(folder / "a_module.py", SOURCE)
    numbered = "\n".join(f'def f{n}():\n    "Function number {n} of a good many functions."' for n in range(200))
    write(folder / "package" / "b_module.py", numbered)
    for skipped in ("test/x.py", "package/tests/x.py", "site-packages/x.py", "idlelib/idle_test/x.py"):
        write(folder / skipped, '"""A docstring of a test or of another package, not to be read."""')
    return folder


def load(folder: Path, cache: Path, **options: object) -> Splits[str]:
    data = PythonDocs(**options)  # pyright: ignore[reportArgumentType]
    data.folder = folder
    return data.load(cache)


def documents(splits: Splits[str]) -> list[str]:
    return [*splits.train, *splits.validation, *splits.test]


def test_docstrings_of_modules_classes_and_functions_cleaned_and_once(library: Path, tmp_path: Path) -> None:
    found = [text for text in documents(load(library, tmp_path)) if not text.startswith("Function number")]
    assert sorted(found) == [
        "The docstring of a class,\n\n    with an indented line\nand one that is not.",
        "The docstring of a coroutine, with an escape \\d that Python warns of.",
        "The docstring of a function inside of a function.",
        "The module's own docstring, long enough to be kept.",
    ]


def test_the_texts_are_those_that_python_shows_for_imported_modules(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    for name in ("textwrap.py", "json/__init__.py", "pydoc_data/topics.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(STANDARD_LIBRARY / name, folder / name)
    found = set(documents(load(folder, tmp_path, min_characters=1)))
    shown = {inspect.getdoc(thing) for thing in (textwrap, textwrap.TextWrapper, textwrap.dedent, json, json.dumps)}
    topics = {inspect.cleandoc(text) for text in pydoc_data.topics.topics.values()}
    assert len(topics) > 50
    assert {text for text in shown if text} | topics <= found


def test_there_is_something_to_read_in_this_python() -> None:
    assert PythonDocs().folder == STANDARD_LIBRARY
    assert PythonDocs().problems() == []


def test_the_split_is_the_same_every_time_and_whatever_was_cached(library: Path, tmp_path: Path) -> None:
    first, cached = load(library, tmp_path / "one"), load(library, tmp_path / "one")
    assert first.digest == cached.digest == load(library, tmp_path / "two").digest
    assert first.train
    assert first.validation
    assert first.test


def test_the_second_time_no_file_is_parsed(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(library, tmp_path)
    monkeypatch.setattr("ast.parse", lambda *args, **kwargs: pytest.fail("parsed again"))
    assert load(library, tmp_path).digest == first.digest


def test_options_and_files_have_caches_of_their_own(library: Path, tmp_path: Path) -> None:
    before = documents(load(library, tmp_path))
    assert len(documents(load(library, tmp_path, min_characters=5))) > len(before)
    write(library / "c_module.py", '"""A module that came with an update of the library."""')
    assert len(documents(load(library, tmp_path))) == len(before) + 1


def test_what_a_killed_process_left_is_no_obstacle(library: Path, tmp_path: Path) -> None:
    expected = load(library, tmp_path / "clean").digest
    (name,) = [file.name for file in (tmp_path / "clean" / "python_docs").glob("*.json")]
    cache = tmp_path / "dirty"
    write(cache / "python_docs" / f"{name}.partial", '["half of a docu')
    write(cache / "python_docs" / f"{name}.lock", "")
    write(cache / "python_docs" / name, "")
    assert load(library, cache).digest == expected


def test_a_file_that_does_not_parse_is_left_out_and_told(
    library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load(library, tmp_path).digest
    write(library / "old.py", 'print "Python 2"')
    with caplog.at_level(logging.WARNING):
        assert load(library, tmp_path).digest == expected
    assert "old.py" in caplog.text


def test_reading_imports_nothing(library: Path, tmp_path: Path) -> None:
    before = set(sys.modules)
    load(library, tmp_path)
    assert not {name for name in set(sys.modules) - before if "module" in name}


def test_a_python_without_sources(tmp_path: Path) -> None:
    data = PythonDocs()
    data.folder = tmp_path
    (problem,) = data.problems()
    assert problem.startswith("data.name: python_docs reads the sources")
    assert str(tmp_path) in problem
    with pytest.raises(ConfigError):
        data.load(tmp_path)


def test_too_few_documents_and_bad_options(library: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data.min_characters: with 1000, 0 documents are left"):
        load(library, tmp_path, min_characters=1000)
    with pytest.raises(ConfigError, match=r"^data.validation_fraction: 0.7 and data.test_fraction 0.3"):
        load(library, tmp_path, validation_fraction=0.7, test_fraction=0.3)
    problems = DATA.problems({"name": "python_docs", "min_characters": 0, "validation_fraction": "0.1"})
    assert [problem.partition(":")[0] for problem in problems] == ["data.validation_fraction", "data.min_characters"]
