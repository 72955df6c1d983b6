"""Long texts in pieces, because a tokenizer library needs a hundred bytes of memory for each token at a time."""

import re
from collections.abc import Iterator

#: Characters of a piece, about.
PIECE_CHARACTERS = 1 << 20

_BORDER = re.compile(r"\S(?=[ \t\n])")


def pieces(text: str, size: int = PIECE_CHARACTERS) -> Iterator[str]:
    """Cut a text into pieces of about ``size`` characters whose concatenation it is.

    A cut is made before white space that follows something else: there the pre-tokenizers in use begin a new word
    anyway, so that the tokens of the pieces are the tokens of the text. Only a run of ``size`` characters without
    such a place is cut through.
    """
    start = 0
    while len(text) - start > size:
        border = _BORDER.search(text, start + size - 1, start + 2 * size)
        end = border.end() if border else min(start + 2 * size, len(text))
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
