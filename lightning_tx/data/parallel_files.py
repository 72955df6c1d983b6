"""Parallel text from two files of lines, one for each language."""

import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Unpack, cast

from pydantic import Field

from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.data.base import DATA
from lightning_tx.data.parallel_text import Pair, PairSource, ParallelText, ParallelTextOptions, examples

#: Larger files are read through only when the data is loaded, not for every run of a sweep before it starts.
_CHECKED_EARLY_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LISTED_STEMS = 10
_QUOTED_CHARACTERS = 60


@DATA.register("parallel_files")
class ParallelFiles(ParallelText):
    """Two UTF-8 files for each split whose lines translate each other.

    The files are ``<path>/<stem>.<suffix>``, or the same with ``.gz`` where there is no plain one. A line ends with
    ``\\n``, and a ``\\r`` before it is dropped; a byte order mark is too. Validation and test sentences are cleaned
    and never filtered.

    Args:
        path: the folder; relative to the working directory unless absolute.
        source: suffix of the files that are translated from.
        target: suffix of the files that are translated to.
        train: stem of the files to train on.
        validation: stem of the files to select on.
        test: stem of the files to look at once; None for no test split.
    """

    def __init__(
        self,
        *,
        path: Annotated[str, Field(min_length=1)],
        source: Annotated[str, Field(min_length=1)] = "de",
        target: Annotated[str, Field(min_length=1)] = "en",
        train: Annotated[str, Field(min_length=1)] = "train",
        validation: Annotated[str, Field(min_length=1)] = "val",
        test: Annotated[str, Field(min_length=1)] | None = None,
        **options: Unpack[ParallelTextOptions],
    ) -> None:
        super().__init__(**options)
        self.path = Path(path).expanduser()
        self.suffixes = (source, target)
        self.stems = {"train": train, "validation": validation} | ({"test": test} if test is not None else {})

    def place(self) -> Path:
        """The path that was named."""
        return self.path

    @classmethod
    def example(cls, folder: Path, edition: int) -> dict[str, Any]:
        """Two files a split."""
        for split, pairs in examples(edition).items():
            for suffix, texts in zip(("de", "en"), zip(*pairs, strict=True), strict=True):
                (folder / f"{split}.{suffix}").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        names = {split: split for split in ("train", "validation", "test")}
        return {"path": str(folder), "source": "de", "target": "en", **names}

    def problems(self) -> list[str]:
        """Files that are missing; in those that are not too large, lines that are malformed or have no counterpart."""
        problems = super().problems() + self._folder_problems()
        if self.path.is_dir():
            for split in self.stems:
                try:
                    files = self._files(split)
                    if max(file.stat().st_size for file in files) <= _CHECKED_EARLY_BYTES:
                        _count_pairs(split, files)
                except ConfigError as error:
                    problems += error.problems
        return problems

    def sources(self, cache: Path) -> dict[str, PairSource]:
        problems = self._folder_problems()
        if problems:
            raise ConfigError(problems)
        sources = {}
        for split in self.stems:
            try:
                files = self._files(split)
                sources[split] = PairSource(_count_pairs(split, files), _pairs(files), f"'{files[0]}' and '{files[1]}'")
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return sources

    def _folder_problems(self) -> list[str]:
        source, target = self.suffixes
        problems = [f"data.target: {target!r} is data.source as well."] if source == target else []
        if not self.path.exists():
            problems.append(f"data.path: '{self.path}' does not exist (looked from '{Path.cwd()}').")
        elif not self.path.is_dir():
            problems.append(f"data.path: '{self.path}' is not a folder.")
        return problems

    def _files(self, split: str) -> tuple[Path, Path]:
        found = [_find(self.path / f"{self.stems[split]}.{suffix}") for suffix in self.suffixes]
        missing = [
            f"data.{split}: '{self.path / self.stems[split]}.{suffix}' does not exist, nor does it with .gz. "
            f"'{self.path}' has {_listing(self.path)}."
            for suffix, file in zip(self.suffixes, found, strict=True)
            if file is None
        ]
        if missing:
            raise ConfigError(missing)
        return cast(tuple[Path, Path], tuple(found))  # none is None: nothing is missing


def _find(file: Path) -> Path | None:
    compressed = file.with_name(file.name + ".gz")
    return next((path for path in (file, compressed) if path.is_file()), None)


def _listing(folder: Path) -> str:
    """The stems in a folder and the suffixes of each."""
    stems: dict[str, list[str]] = {}
    for file in sorted(folder.iterdir()):
        stem, dot, suffix = file.name.removesuffix(".gz").rpartition(".")
        if dot and stem and file.is_file():
            stems.setdefault(stem, []).append(suffix)
    if not stems:
        return "no such files"
    parts = [f"{stem} ({choices(set(suffixes))})" for stem, suffixes in stems.items()]
    rest = [f"{len(parts) - _LISTED_STEMS} more"] if len(parts) > _LISTED_STEMS else []
    return "these stems (and suffixes): " + ", ".join(parts[:_LISTED_STEMS] + rest)


class _LineFeeds(io.RawIOBase):
    """A file whose lines end in carriage returns, as if they ended in line feeds."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def _open(file: Path) -> BinaryIO:
    """A file to be read line by line; one that begins with carriage returns alone has them as its line ends."""
    stream = _open_as_it_is(file)
    with stream:
        start = stream.read(_BLOCK_BYTES)
    stream = _open_as_it_is(file)
    if b"\r" not in start or b"\n" in start:
        return stream
    return io.BufferedReader(_LineFeeds(stream), _BLOCK_BYTES)


def _open_as_it_is(file: Path) -> BinaryIO:
    if file.suffix != ".gz":
        return file.open("rb")
    # Buffered: a line of a GzipFile costs a microsecond of Python, one of a buffer does not.
    return io.BufferedReader(cast(io.RawIOBase, gzip.open(file, "rb")), _BLOCK_BYTES)


def _count_lines(split: str, file: Path) -> int:
    """How many lines a file has, after a look at every byte of it."""
    count = 0
    block = b""
    try:
        with _open(file) as stream:
            while lines := stream.readlines(_BLOCK_BYTES):
                block = b"".join(lines)
                if b"\0" in block:
                    line = count + block.count(b"\n", 0, block.index(0)) + 1
                    raise ConfigError(f"data.{split}: '{file}' is binary, not text: line {line} has a zero byte.")
                block.decode()
                count += len(lines)
    except UnicodeDecodeError as error:
        line = count + block.count(b"\n", 0, error.start) + 1
        place = error.start - (block.rfind(b"\n", 0, error.start) + 1) + 1
        raise ConfigError(
            f"data.{split}: '{file}' is not UTF-8 text: byte {place} of line {line}, 0x{block[error.start]:02x}, "
            "is not valid."
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"data.{split}: '{file}' cannot be decompressed: {error}.") from error
    except OSError as error:
        raise ConfigError(f"data.{split}: '{file}' cannot be read: {error.strerror}.") from error
    return count


def _count_pairs(split: str, files: tuple[Path, Path]) -> int:
    """How many lines both files have, after a look at every byte of them."""
    counts = [_count_lines(split, file) for file in files]
    if counts[0] != counts[1]:
        shorter, longer = sorted(range(2), key=counts.__getitem__)
        extra = next(islice(_lines(files[longer]), counts[shorter], None))
        quoted = extra if len(extra) <= _QUOTED_CHARACTERS else extra[:_QUOTED_CHARACTERS] + "…"
        raise ConfigError(
            f"data.{split}: '{files[0]}' has {counts[0]} lines and '{files[1]}' has {counts[1]}: line "
            f"{counts[shorter] + 1} of '{files[longer]}' is the first without a counterpart: {quoted!r}."
        )
    if counts[0] == 0:
        raise ConfigError(f"data.{split}: '{files[0]}' and '{files[1]}' are empty.")
    return counts[0]


def _lines(file: Path) -> Iterator[str]:
    # Not as text: that would end lines at any \r as well, and the two files would come apart.
    with _open(file) as stream:
        for number, line in enumerate(stream):
            if number == 0:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode()


def _pairs(files: tuple[Path, Path]) -> Iterator[Pair]:
    return zip(_lines(files[0]), _lines(files[1]), strict=True)
