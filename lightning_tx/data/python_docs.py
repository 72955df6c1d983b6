"""The documentation that the running Python carries: English prose that needs no download."""

import ast
import inspect
import json
import logging
import os
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.base import DATA, Data, Splits
from lightning_tx.data.split import by_content, fraction_problems
from lightning_tx.data.storage import build_once, digest_of

_logger = logging.getLogger(__name__)

#: Raised when other texts are extracted from the same files, so that caches of the old ones are not used.
_EXTRACTOR_VERSION = 1
_TOPICS = "pydoc_data/topics.py"
#: Folders below the standard library that are tests, or not the standard library at all.
_SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@DATA.register("python_docs")
class PythonDocs(Data[str]):
    """Docstrings of the running Python's standard library and the texts of its ``help()`` topics.

    Source: the files below ``sysconfig.get_path("stdlib")``, which are parsed and never imported.

    A document is the cleaned docstring of one module, class or function, or one topic. They are ordered by path and
    place in the file; of equal documents the first is kept. The split is by a hash of the text. The texts differ
    between versions of Python: compare runs by the data's digest.

    Args:
        validation_fraction: share of the documents that is validated on.
        test_fraction: share of the documents that is kept for the test.
        min_characters: shorter documents are left out.
    """

    def __init__(
        self,
        *,
        validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05,
        test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05,
        min_characters: Annotated[int, Field(ge=1)] = 40,
    ) -> None:
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.min_characters = min_characters
        self.folder = Path(sysconfig.get_path("stdlib"))

    def problems(self) -> list[str]:
        """A Python without the sources of its standard library, fractions that leave nothing to train on."""
        problems = fraction_problems(self.validation_fraction, self.test_fraction)
        if next(_source_files(self.folder), None) is None:
            problems.append(
                f"data.name: python_docs reads the sources of Python's standard library, and this Python has none "
                f"in '{self.folder}'."
            )
        return problems

    def load(self, cache: Path) -> Splits[str]:
        """Extract the documents, which takes seconds and is done once for each Python and option.

        Raises:
            ConfigError: with what ``problems`` finds, or when ``min_characters`` leaves too little for the splits.
        """
        problems = self.problems()
        if problems:
            raise ConfigError(problems)
        files = sorted(_source_files(self.folder))
        sizes = {file: (self.folder / file).stat().st_size for file in files}
        key = digest_of([_EXTRACTOR_VERSION, sys.version, sizes, self.min_characters])
        extracted = cache / "python_docs" / f"{key}.json"
        build_once(extracted, lambda path: _write(path, _documents(self.folder, files, self.min_characters)))
        documents = json.loads(extracted.read_text(encoding="utf-8"))
        splits = by_content(documents, self.validation_fraction, self.test_fraction)
        if not splits.train or not splits.validation or (self.test_fraction > 0 and not splits.test):
            raise ConfigError(
                f"data.min_characters: with {self.min_characters}, {len(documents)} documents are left, too few to "
                f"split with validation_fraction {self.validation_fraction} and test_fraction {self.test_fraction}."
            )
        return splits


def _write(path: Path, documents: list[str]) -> None:
    path.write_text(json.dumps(documents), encoding="utf-8")


def _source_files(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        yield from ((Path(root) / name).relative_to(folder).as_posix() for name in files if name.endswith(".py"))


def _documents(folder: Path, files: list[str], min_characters: int) -> list[str]:
    texts = (text for file in files for text in _texts(folder / file, _topics if file == _TOPICS else _docstrings))
    return list(dict.fromkeys(text for text in texts if len(text) >= min_characters and _is_encodable(text)))


def _texts(file: Path, find: Callable[[ast.Module], Iterator[str]]) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            # What the parser has to say about escapes in the library's strings is not for our users.
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        # Some distributions put files that are not Python 3 beside the library.
        _logger.warning("python_docs leaves out '%s', which does not parse: %s", file, error)
        return
    yield from find(tree)


def _docstrings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, _Documented):
        docstring = ast.get_docstring(node)
        if docstring:
            yield docstring
    for child in ast.iter_child_nodes(node):
        yield from _docstrings(child)


def _topics(tree: ast.Module) -> Iterator[str]:
    """The values of the dict that ``topics.py`` assigns to ``topics``."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "topics":
            yield from map(inspect.cleandoc, ast.literal_eval(statement.value).values())


def _is_encodable(text: str) -> bool:
    # A docstring may hold half of a surrogate pair, which no UTF-8 file can.
    return not any("\ud800" <= character <= "\udfff" for character in text)
