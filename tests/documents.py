"""Code that stands in the documentation, for tests that run it."""

import re
from typing import NamedTuple


class Block(NamedTuple):
    """A fenced piece of a document: its language, its text, and the file that its first line names, if any."""

    language: str
    text: str
    file: str | None


def blocks(document: str, language: str | None = None) -> list[Block]:
    """The fenced blocks of a Markdown document in their order, or those in one language."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    named = [(each, text, re.match(r"# (\S+\.(?:py|yaml))\b.*\n", text)) for each, text in found]
    return [
        Block(each, text, first[1] if first else None)
        for each, text, first in named
        if language is None or language == each
    ]


def commands(document: str) -> list[str]:
    """The lines of the document's shell blocks."""
    return [line for block in blocks(document, "sh") for line in block.text.splitlines()]
