"""Small data that the tests of this folder share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_tx.data.corpus import EncodedSplit
from lightning_tx.data.pairs import PairSplit

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


#: Special tokens of encoded pairs; the source's padding is another one, so that a mix-up shows.
BOS, EOS, SOURCE_PAD, TARGET_PAD = 1, 2, 3, 4


def pair_split(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> PairSplit:
    """Pairs of token ids as an encoded split."""
    return PairSplit(_stream(sources, SOURCE_PAD), _stream(targets, TARGET_PAD))


def pairs_of_lengths(lengths: Sequence[tuple[int, int]]) -> PairSplit:
    """Pairs with so many tokens on each side, ``<eos>`` counted; all tokens differ from the special ones."""
    sides = ([list(range(10, 9 + pair[side])) for pair in lengths] for side in (0, 1))
    return pair_split(*sides)


def _stream(documents: Sequence[Sequence[int]], pad_id: int) -> EncodedSplit:
    rows = [[BOS, *document, EOS] for document in documents]
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)[:-1]
    tokens = np.array([token for row in rows for token in row], dtype=np.uint16)
    return EncodedSplit(tokens, starts, 0, pad_id)


def write(path: Path, content: str | bytes) -> Path:
    """A file with the given content, and the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
