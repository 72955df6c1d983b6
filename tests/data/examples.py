"""Small data that the tests of this folder share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_tx.data.corpus import EncodedSplit

PAD = 65_000

#: Text that a careless tokenizer or cache gets wrong.
AWKWARD_TEXTS = (
    "plain words, and more words",
    "  two leading spaces\n\n\n three line ends\t\ttabs \n",
    "naïve Ünïcödé 日本語 \u200b\u0301 👩‍👩‍👧 \U0010ffff",
    "special <pad> strings <bos><eos> and <unk>",
    "\x00\x01\x7f control \r\n characters\x1c!\x1d",
    "",
    " ",
)


def numbered_split(num_tokens: int, starts: Sequence[int]) -> EncodedSplit:
    """A split in which every token is its own place in the stream, so that tokens tell where they come from."""
    return EncodedSplit(np.arange(num_tokens, dtype=np.uint16), np.array(starts, np.int64), num_tokens, PAD)


def write(path: Path, content: str | bytes) -> Path:
    """A file with the given content, and the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
