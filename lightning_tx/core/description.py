"""What a component says of itself: its docstring, and where its options are explained."""

import inspect
import re
from collections.abc import Iterator

from lightning_tx.core.constructor import option_parameters, shared_options

_ARGS = re.compile(r"^Args:\n(?: {4}.*(?:\n|\Z))+", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w+):.*(?:\n {5,}.*)*", re.MULTILINE)
#: The sections that come after ``Args``.
_LATER = re.compile(r"^(?:Attributes|Raises):$", re.MULTILINE)


def summary(cls: type) -> str:
    """The first line of a component's docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def source(cls: type) -> str:
    """Where a component comes from: the paragraph of its docstring that starts with ``Source:``."""
    for paragraph in (inspect.getdoc(cls) or "").split("\n\n"):
        if paragraph.startswith("Source:"):
            return " ".join(paragraph.removeprefix("Source:").split())
    return ""


def description(cls: type) -> str:
    """A component's docstring, its ``Args`` completed by the options that it inherits or shares."""
    text = (inspect.getdoc(cls) or "").strip()
    explained: dict[str, str] = {}
    for docstring in docstrings(cls):
        explained = _entries(docstring) | explained
    there = _entries(text)
    others = [explained[each.name] for each in option_parameters(cls) if each.name in explained.keys() - there.keys()]
    if not others:
        return text
    entries = "\n".join(others) + "\n"
    if section := _ARGS.search(text):
        before, after = text[: section.end()].rstrip("\n") + "\n", text[section.end() :]
        return (before + entries + after).rstrip("\n")
    later = _LATER.search(text)
    place = later.start() if later else len(text)
    return f"{text[:place].rstrip()}\n\nArgs:\n{entries}\n{text[place:]}".rstrip("\n")


def docstrings(cls: type) -> Iterator[str]:
    """Where a component's options may be explained, nearest first: with every class, the options it shares."""
    for each in cls.__mro__:
        yield inspect.cleandoc(each.__doc__ or "")
        constructor = vars(each).get("__init__")
        shared = shared_options(constructor) if inspect.isfunction(constructor) else None
        if shared is not None:
            yield inspect.cleandoc(shared.__doc__ or "")


def _entries(docstring: str) -> dict[str, str]:
    """The entries of ``Args``, by the name that each explains."""
    section = _ARGS.search(docstring)
    return {entry[1]: entry[0] for entry in _ENTRY.finditer(section[0])} if section else {}
