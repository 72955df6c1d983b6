"""How a sentence is cleaned: one spelling of every character, markup and addresses out, white space collapsed."""

import html
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Literal

Normalization = Literal["none", "NFC", "NFKC"]

_COMMENT = re.compile(r"<!--.*?-->")
# A tag's name ends with white space, a slash or the bracket, so that "a <b" and "<https://…>" are none.
_TAG = re.compile(r"</?([a-zA-Z][\w-]*(?::[\w-]+)?)(?:[\s/][^<>]*)?>")
#: Elements that stand within a word or beside one; every other tag separates words.
_INLINE = {
    "a",
    "abbr",
    "b",
    "big",
    "cite",
    "code",
    "em",
    "font",
    "i",
    "mark",
    "q",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "u",
}
# With the semicolon only: the forms without it would turn "?a=1&copy=2" into "?a=1©=2".
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
# Punctuation at the end belongs to the sentence, not to the address.
_URL = re.compile(r"""\b(?:(?:https?|ftp)://|www\.)\S*[^\s.,;:!?…)\]}>'"»”’]""", re.IGNORECASE)

_CORE_PUNCTUATION = ".,;:!?'\"()-"
_NOT_CORE = re.compile(rf"[^\w\s{re.escape(_CORE_PUNCTUATION)}]|_")
_AS_CORE = {
    **dict.fromkeys("‘’‚‛′`´", "'"),
    **dict.fromkeys("“”„‟«»″", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    "…": "...",
}


@dataclass(frozen=True)
class Cleaning:
    """A function from a sentence as it was written to the sentence that is trained on and scored.

    The steps are taken in the order of the attributes; white space of every kind is then collapsed to single blanks,
    and stripped at both ends.

    Attributes:
        strip_html: tags are taken out first, then entities become the characters they stand for. What only then
            looks like a tag was text to its author, and stays.
        normalize: Unicode normalization form.
        strip_urls: addresses that start with ``http://``, ``https://``, ``ftp://`` or ``www.`` are taken out.
        core_characters: only letters with their marks, digits and ``. , ; : ! ? ' " ( ) -`` are kept. Typographic
            quotation marks, dashes and the ellipsis become their plain forms; anything else separates words.
        lowercase: capitals become small letters.
    """

    strip_html: bool = False
    normalize: Normalization = "NFC"
    strip_urls: bool = False
    core_characters: bool = False
    lowercase: bool = False

    def __call__(self, text: str) -> str:
        """The cleaned sentence; empty if nothing of it is left."""
        if self.strip_html:
            text = _without_html(text)
        # Every form leaves ASCII text as it is.
        if self.normalize != "none" and not text.isascii():
            text = unicodedata.normalize(self.normalize, text)
        if self.strip_urls and ("://" in text or "www." in text.lower()):
            text = _URL.sub(" ", text)
        if self.core_characters:
            text = _NOT_CORE.sub(_to_core, text)
        if self.lowercase:
            text = text.lower()
        return " ".join(text.split())


def _without_html(text: str) -> str:
    if "<" in text:
        text = _TAG.sub(_to_space, _COMMENT.sub(" ", text))
    if "&" in text:
        text = _ENTITY.sub(_to_character, text)
    return text


def _to_space(tag: re.Match[str]) -> str:
    return "" if tag[1].lower() in _INLINE else " "


def _to_character(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])


def _to_core(character: re.Match[str]) -> str:
    return _core(character[0])


@cache
def _core(character: str) -> str:
    """What stands for a character outside the core ones."""
    if character in _AS_CORE:
        return _AS_CORE[character]
    category = unicodedata.category(character)
    if category.startswith("M"):
        return character  # the vowel signs of many scripts
    return "" if category == "Cf" else " "  # soft hyphens and joiners stand within a word
