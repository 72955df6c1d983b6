"""A data set in tokens: encoded once, kept on disk, and read from there without loading it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from lightning_tx.data.base import Splits
from lightning_tx.data.pieces import PIECE_CHARACTERS, pieces
from lightning_tx.data.storage import build_once
from lightning_tx.tokenizer.base import Tokenizer

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")

#: Raised when the same documents are laid out in another way.
_LAYOUT_VERSION = 1
_SUMMARY = "corpus.json"


@dataclass(frozen=True)
class EncodedSplit:
    """One split as a flat stream of tokens, each document as ``<bos> tokens… <eos>``.

    Attributes:
        tokens: token ids, uint16 or uint32, mapped into memory.
        starts: place of each document's ``<bos>`` in ``tokens``, int64, ascending.
        num_bytes: UTF-8 bytes of the documents' text.
        pad_id: token id to fill up rows with.
    """

    tokens: np.ndarray
    starts: np.ndarray
    num_bytes: int
    pad_id: int

    @property
    def num_documents(self) -> int:
        """Documents in the split."""
        return len(self.starts)


@dataclass(frozen=True)
class Corpus:
    """The three splits of a data set, encoded."""

    train: EncodedSplit
    validation: EncodedSplit
    test: EncodedSplit

    def split(self, name: SplitName) -> EncodedSplit:
        """A split by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def prepare(splits: Splits[str], tokenizer: Tokenizer, cache: Path) -> Corpus:
    """Encode every document, or open what was encoded before.

    The result is kept under the digests of documents and tokenizer. Several processes may ask for the same corpus at
    once: one encodes, the others wait. What a killed process left is removed.

    Args:
        splits: the documents.
        tokenizer: the trained tokenizer.
        cache: folder that holds the caches.
    """
    folder = cache / "corpus" / f"{splits.digest}-{tokenizer.digest}-{_LAYOUT_VERSION}"
    build_once(folder, partial(_write, splits, tokenizer), _is_complete)
    summary = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
    return Corpus(*(_open(folder, name, summary["num_bytes"][name], tokenizer.pad_id) for name in SPLIT_NAMES))


def _write(splits: Splits[str], tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir()
    for name in SPLIT_NAMES:
        tokens, starts = _encode(getattr(splits, name), tokenizer)
        np.save(_tokens_file(folder, name), tokens)
        np.save(_starts_file(folder, name), starts)
    summary = {
        "num_bytes": {name: sum(len(text.encode()) for text in getattr(splits, name)) for name in SPLIT_NAMES},
        "file_sizes": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    (folder / _SUMMARY).write_text(json.dumps(summary), encoding="utf-8")


def _is_complete(folder: Path) -> bool:
    # A machine that lost power may have kept the folder's name and lost the end of its files.
    summary = folder / _SUMMARY
    if not summary.is_file() or summary.stat().st_size == 0:
        return False
    sizes = json.loads(summary.read_text(encoding="utf-8"))["file_sizes"]
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def _open(folder: Path, name: str, num_bytes: int, pad_id: int) -> EncodedSplit:
    tokens = np.load(_tokens_file(folder, name), mmap_mode="r")
    return EncodedSplit(tokens, np.load(_starts_file(folder, name)), num_bytes, pad_id)


def _tokens_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.tokens.npy"


def _starts_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.starts.npy"


def _encode(documents: Sequence[str], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """The token stream of the documents and where each of them starts in it."""
    dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    bos, eos = np.array([tokenizer.bos_id], dtype), np.array([tokenizer.eos_id], dtype)
    stream: list[np.ndarray] = []
    starts: list[int] = []
    length = 0
    for chunk in _chunks(documents):
        parts: list[np.ndarray] = []
        for piece, ids in zip(chunk, tokenizer.encode_batch([piece.text for piece in chunk]), strict=True):
            if piece.opens:
                starts.append(length)
            parts += [bos] * piece.opens + [np.array(ids, dtype)] + [eos] * piece.closes
            length += piece.opens + len(ids) + piece.closes
        # One array a chunk: an array costs a hundred bytes besides its content, and documents may be short.
        stream.append(np.concatenate(parts))
    tokens = np.concatenate(stream) if stream else np.empty(0, dtype)
    return tokens, np.array(starts, np.int64)


@dataclass(frozen=True)
class _Piece:
    text: str
    opens: bool
    closes: bool


def _chunks(documents: Sequence[str]) -> Iterator[list[_Piece]]:
    """Pieces of documents, grouped so that a group is worth encoding in parallel and no burden on memory."""
    chunk: list[_Piece] = []
    characters = 0
    for document in documents:
        texts = list(pieces(document)) or [""]
        for number, text in enumerate(texts):
            chunk.append(_Piece(text, opens=number == 0, closes=number == len(texts) - 1))
            characters += len(text)
            if characters >= PIECE_CHARACTERS:
                yield chunk
                chunk, characters = [], 0
    if chunk:
        yield chunk
