"""Parallel text through Hugging Face's library ``datasets``."""

import importlib.util
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import Field

from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.data.base import DATA
from lightning_tx.data.parallel_text import Pair, PairSource, ParallelText, ParallelTextOptions, examples

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

_MISSING_LIBRARY = (
    "data.name: hf_dataset needs the library 'datasets', which is not installed. Install it with "
    "pip install 'lightning_tx[hf]'."
)
#: ``name`` or ``owner/name``, as data sets are called on the hub.
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
#: What ``save_to_disk`` leaves in the folder of all splits, and in that of one.
_SAVED_SPLITS = "dataset_dict.json"
_SAVED_SPLIT = "state.json"
_ROWS_AT_A_TIME = 1000
#: Who reports on loading, down to every request.
_LOGGERS = ("datasets", "huggingface_hub", "httpx")


@DATA.register("hf_dataset")
class HfDataset(ParallelText):
    """Sentence pairs from the Hugging Face hub, or from a local folder of the same format.

    A local folder holds json, csv or parquet files, or is what ``save_to_disk`` made of a dictionary of splits. Data
    sets that come with a script to run are refused by the library from version 4 on; the hub keeps most of them as
    parquet files under the revision ``refs/convert/parquet``, one folder for each configuration. Rows stay on disk
    and are read up to the last one that is needed. Validation and test sentences are cleaned and never filtered.

    Source: Lhoest et al. 2021, arXiv:2109.02846.

    Args:
        path: a name on the hub, or a local folder; a folder of that name is preferred.
        config: configuration of the data set, such as ``de-en``; None for its only or default one.
        revision: branch, tag or commit on the hub; None for its newest state.
        data_dir: folder within the data set to read; None for all of it.
        source: key of the language that is translated from.
        target: key of the language that is translated to.
        column: the column that holds a mapping from language to sentence; None where each language is a column.
        train: name of the split to train on; slices such as ``train[:90%]`` are the library's.
        validation: name of the split to select on.
        test: name of the split to look at once; None for no test split.
    """

    def __init__(
        self,
        *,
        path: Annotated[str, Field(min_length=1)],
        config: Annotated[str, Field(min_length=1)] | None = None,
        revision: Annotated[str, Field(min_length=1)] | None = None,
        data_dir: Annotated[str, Field(min_length=1)] | None = None,
        source: Annotated[str, Field(min_length=1)] = "de",
        target: Annotated[str, Field(min_length=1)] = "en",
        column: Annotated[str, Field(min_length=1)] | None = "translation",
        train: Annotated[str, Field(min_length=1)] = "train",
        validation: Annotated[str, Field(min_length=1)] = "validation",
        test: Annotated[str, Field(min_length=1)] | None = None,
        **options: Unpack[ParallelTextOptions],
    ) -> None:
        super().__init__(**options)
        self.path = path
        self.folder = Path(path).expanduser()
        self.config = config
        self.revision = revision
        self.data_dir = data_dir
        self.languages = (source, target)
        self.column = column
        self.splits = {"train": train, "validation": validation} | ({"test": test} if test is not None else {})

    @classmethod
    def example(cls, folder: Path, edition: int) -> dict[str, Any]:
        """A folder of json files, a column for each language."""
        for split, pairs in examples(edition).items():
            rows = [json.dumps({"de": source, "en": target}) for source, target in pairs]
            (folder / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
        names = {split: split for split in ("train", "validation", "test")}
        elsewhere = dict.fromkeys(("config", "revision", "data_dir", "column"))
        return {"path": str(folder), "source": "de", "target": "en", **names, **elsewhere}

    def problems(self) -> list[str]:
        """The library is missing, or a local folder is, or the splits saved in it; the hub is not asked."""
        problems = super().problems()
        if importlib.util.find_spec("datasets") is None:
            problems.append(_MISSING_LIBRARY)
        if self.languages[0] == self.languages[1]:
            problems.append(f"data.target: {self.languages[1]!r} is data.source as well.")
        return problems + self._path_problems()

    def sources(self, cache: Path) -> dict[str, PairSource]:
        problems = self.problems()
        if problems:
            raise ConfigError(problems)
        found = self._saved() if (self.folder / _SAVED_SPLITS).is_file() else self._loaded(cache)
        for split, dataset in found.items():
            problems += self._column_problems(split, dataset)
        if problems:
            raise ConfigError(problems)
        return {
            split: PairSource(dataset.num_rows, self._pairs(dataset), f"split '{self.splits[split]}' of '{self.path}'")
            for split, dataset in found.items()
        }

    def _path_problems(self) -> list[str]:
        if self.folder.is_file():
            return [f"data.path: '{self.path}' is a file; give the folder it is in."]
        if not self.folder.is_dir():
            if _HUB_NAME.fullmatch(self.path):
                return []
            where = f"(looked from '{Path.cwd()}'), and it is no name on the hub, which has the form owner/name"
            return [f"data.path: the folder '{self.path}' does not exist {where}."]
        if (self.folder / _SAVED_SPLIT).is_file():
            return [
                f"data.path: '{self.path}' is one saved split; give a folder that DatasetDict.save_to_disk made, which "
                "holds all of them."
            ]
        if (self.folder / _SAVED_SPLITS).is_file():
            return self._ignored(("config", "revision", "data_dir"), "a saved data set") + self._split_problems()
        return self._ignored(("revision",), "a local folder")

    def _ignored(self, options: tuple[str, ...], what: str) -> list[str]:
        """Options that would have no effect on what is read."""
        given = {"config": self.config, "revision": self.revision, "data_dir": self.data_dir}
        return [
            f"data.{option}: {given[option]!r} has no meaning for {what}, as '{self.path}' is one; set it to null."
            for option in options
            if given[option] is not None
        ]

    def _split_problems(self) -> list[str]:
        saved = self.folder / _SAVED_SPLITS
        try:
            known = json.loads(saved.read_text(encoding="utf-8"))["splits"]
        except (ValueError, KeyError):
            return [f"data.path: '{saved}' is damaged; save the data set again."]
        return [
            f"data.{split}: '{self.path}' has no split {name!r}.{nearest(name, known)} Splits: {choices(known)}."
            for split, name in self.splits.items()
            if name not in known
        ]

    def _saved(self) -> "dict[str, Dataset]":
        with _library(self.path) as datasets:
            saved = datasets.load_from_disk(str(self.folder))
            return {split: saved[name] for split, name in self.splits.items()}

    def _loaded(self, cache: Path) -> "dict[str, Dataset]":
        with _library(self.path) as datasets:
            loaded = datasets.load_dataset(
                str(self.folder) if self.folder.is_dir() else self.path,
                name=self.config,
                revision=self.revision,
                data_dir=self.data_dir,
                split=list(self.splits.values()),
                cache_dir=str(cache / "datasets"),
            )
            return dict(zip(self.splits, loaded, strict=True))

    def _column_problems(self, split: str, dataset: "Dataset") -> list[str]:
        """Columns that are not there, or hold no sentences."""
        import pyarrow

        where = f"split '{self.splits[split]}' of '{self.path}'"
        fields = {field.name: field.type for field in dataset.features.arrow_schema}
        if self.column is not None:
            if self.column not in fields:
                known = f"{nearest(self.column, fields)} Columns: {choices(fields)}"
                hint = (
                    " Where each language is a column, set data.column=null." if set(self.languages) & {*fields} else ""
                )
                return [f"data.column: {where} has no column {self.column!r}.{known}.{hint}"]
            column = fields[self.column]
            if not pyarrow.types.is_struct(column):
                return [f"data.column: {self.column!r} of {where} holds {column}, not a mapping from language to text."]
            fields = {field.name: field.type for field in column.fields}
        problems = []
        for key, language in zip(("source", "target"), self.languages, strict=True):
            if language not in fields:
                known = f"{nearest(language, fields)} There are: {choices(fields)}"
                problems.append(f"data.{key}: {where} has no {language!r}.{known}.")
            elif not (pyarrow.types.is_string(fields[language]) or pyarrow.types.is_large_string(fields[language])):
                problems.append(f"data.{key}: {language!r} of {where} holds {fields[language]}, not text.")
        return problems

    def _pairs(self, dataset: "Dataset") -> Iterator[Pair]:
        # As Arrow tables: a dict for each row would cost more than cleaning it.
        for table in dataset.with_format("arrow").iter(batch_size=_ROWS_AT_A_TIME):
            yield from zip(*(_texts(table, self.column, language) for language in self.languages), strict=True)


def _texts(table: "pyarrow.Table", column: str | None, language: str) -> list[str]:
    values = table[language] if column is None else table.select([column]).flatten()[f"{column}.{language}"]
    # A missing sentence is an empty one, and is counted among those.
    return [text or "" for text in values.to_pylist()]


@contextmanager
def _library(path: str) -> Iterator[Any]:
    """The library, silent while it is used, every failure of it as a ``ConfigError``."""
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(f"data.name: hf_dataset cannot import the library 'datasets': {error}.") from error
    with _silence():
        try:
            yield datasets
        except Exception as error:
            # Its own errors, the hub's, the network's and the parsers' have no common base.
            raise ConfigError(f"data.path: '{path}' cannot be loaded: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """An error with the one that it comes from: the library says of many that something was wrong, and no more."""
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    told = [f"{type(each).__name__}: {' '.join(str(each).split()) or 'no reason given'}" for each in (error, first)]
    return ", because of ".join(dict.fromkeys(told))


@contextmanager
def _silence() -> Iterator[None]:
    """No progress bars and no log lines of the libraries; what goes wrong is raised."""
    import datasets
    from huggingface_hub import utils as hub

    switches = [
        (library.enable_progress_bars, library.disable_progress_bars)
        for library in (datasets, hub)
        if not library.are_progress_bars_disabled()
    ]
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for _, disable in switches:
        disable()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for enable, _ in switches:
            enable()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
