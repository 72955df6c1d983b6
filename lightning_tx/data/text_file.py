"""Text from a file, or from all the text files of a folder."""

import codecs
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.base import DATA, Data, Splits
from lightning_tx.data.split import by_position, fraction_problems

#: How many unusable files of a folder are named one by one.
_NAMED_FILES = 10
_CHUNK_BYTES = 1 << 20
#: Files and folders below a folder, at most.
MOST_ENTRIES = 200_000

Pattern = Annotated[str, Field(min_length=1)]


@DATA.register("text_file")
class TextFile(Data[str]):
    """A text file, or a folder of text files, split by position as nanoGPT does.

    A file is one document; a folder has one per file, in the order of their paths. Text is UTF-8; line ends become
    ``\\n`` and a byte order mark is dropped. The first part of the characters is the training split, then come
    validation and, if it is asked for, test.

    Args:
        path: the file or folder; relative to the working directory unless absolute.
        glob: which files of a folder are read, at any depth: a pattern, or a list of them.
        validation_fraction: share of the characters that is validated on.
        test_fraction: share of the characters, at the end, that is kept for the test.
    """

    def __init__(
        self,
        *,
        path: Annotated[str, Field(min_length=1)],
        glob: Pattern | Annotated[list[Pattern], Field(min_length=1)] = "*.txt",
        validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        self.path = Path(path).expanduser()
        self.globs = [glob] if isinstance(glob, str) else glob
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction

    def place(self) -> Path:
        """The path that was named."""
        return self.path

    @classmethod
    def example(cls, folder: Path, edition: int) -> dict[str, Any]:
        """A file of a few hundred lines."""
        file = folder / "numbers.txt"
        lines = [f"{edition + 2 * number} comes after {edition + 2 * number - 1}." for number in range(200)]
        file.write_text("\n".join(lines), encoding="utf-8")
        return {"path": str(file)}

    def problems(self) -> list[str]:
        """A path that is missing or holds no text, files that are empty or binary, fractions that leave nothing."""
        problems = fraction_problems(self.validation_fraction, self.test_fraction)
        try:
            files = self._files()
        except ConfigError as error:
            return problems + error.problems
        unusable = [problem for problem in map(_file_problem, files) if problem]
        problems += unusable[:_NAMED_FILES]
        if len(unusable) > _NAMED_FILES:
            problems.append(f"data.path: {len(unusable) - _NAMED_FILES} more files below '{self.path}' are unusable.")
        return problems

    def load(self, cache: Path) -> Splits[str]:
        """Read the files; nothing is cached.

        Raises:
            ConfigError: with what ``problems`` finds, or when a split that was asked for would be empty.
        """
        problems = self.problems()
        if problems:
            raise ConfigError(problems)
        documents = [_read(file) for file in self._files()]
        splits = by_position(documents, self.validation_fraction, self.test_fraction)
        if not splits.train or not splits.validation or (self.test_fraction > 0 and not splits.test):
            raise ConfigError(
                f"data.path: '{self.path}' has {sum(map(len, documents))} characters, too few to split with "
                f"validation_fraction {self.validation_fraction} and test_fraction {self.test_fraction}."
            )
        return splits

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        if not self.path.exists():
            raise ConfigError(f"data.path: '{self.path}' does not exist (looked from '{Path.cwd()}').")
        if not self.path.is_dir():
            raise ConfigError(f"data.path: '{self.path}' is neither a file nor a folder.")
        _check_extent(self.path)
        files = {file for glob in self.globs for file in self._matching(glob)}
        if not files:
            patterns = " or ".join(map(repr, self.globs))
            raise ConfigError(f"data.path: the folder '{self.path}' has no file that matches data.glob {patterns}.")
        return sorted(files, key=lambda file: file.relative_to(self.path).as_posix())

    def _matching(self, glob: str) -> list[Path]:
        try:
            return [file for file in self.path.rglob(glob) if file.is_file()]
        except (ValueError, NotImplementedError) as error:
            raise ConfigError(f"data.glob: {glob!r} is not a pattern for files of a folder: {error}.") from error
        except OSError as error:
            raise ConfigError(f"data.path: '{self.path}' cannot be searched: {error}.") from error


def _check_extent(folder: Path) -> None:
    """Refuse a folder that takes minutes to search, such as a whole disk; links to folders are not followed."""
    entries = 0
    for _, folders, files in os.walk(folder):
        entries += len(folders) + len(files)
        if entries > MOST_ENTRIES:
            raise ConfigError(
                f"data.path: the folder '{folder}' holds more than {MOST_ENTRIES:,} files and folders; "
                "name one that holds the texts alone."
            )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").removeprefix("\ufeff")
    except OSError as error:
        raise ConfigError(f"data.path: '{file}' cannot be read: {error.strerror}.") from error


def _file_problem(file: Path) -> str | None:
    """Why a file is not text, read in chunks so that its size does not matter."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    seen = 0
    blank = True
    try:
        with file.open("rb") as stream:
            while True:
                chunk = stream.read(_CHUNK_BYTES)
                pending = len(decoder.getstate()[0])
                if b"\0" in chunk:
                    return f"data.path: '{file}' is binary, not text: byte {seen + chunk.index(0)} is zero."
                blank = not decoder.decode(chunk, final=not chunk).lstrip("\ufeff").strip() and blank
                seen += len(chunk)
                if not chunk:
                    break
    except UnicodeDecodeError as error:
        return f"data.path: '{file}' is not UTF-8 text: byte {seen - pending + error.start} is not valid."
    except OSError as error:
        return f"data.path: '{file}' cannot be read: {error.strerror}."
    if seen == 0:
        return f"data.path: '{file}' is empty."
    return f"data.path: '{file}' holds nothing but white space." if blank else None
