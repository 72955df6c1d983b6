"""Configs as dotted keys, and their values as text."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: Stands for a key that a config does not have, e.g. ``adapter.rank`` beside ``adapter=none``.
ABSENT = "-"


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """A nested config as ``{dotted key: value}``; items of lists are numbered, empty containers are values."""
    if isinstance(config, Mapping) and config:
        items: Iterable[tuple[Any, Any]] = config.items()
    elif isinstance(config, list | tuple) and config:
        items = enumerate(config)
    else:
        return {prefix: config} if prefix else {}
    flat = {}
    for key, value in items:
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def below(keys: Iterable[str]) -> Callable[[str], bool]:
    """A test for whether a dotted key is one of ``keys`` or lies below one."""
    exact = set(keys)
    prefixes = tuple(key + "." for key in exact)
    return lambda key: key in exact or key.startswith(prefixes)


def fingerprint(flat: Mapping[str, Any], key: str) -> str:
    """A value as text by which it is compared: ``1`` and ``1.0`` agree, ``1`` and ``true`` do not, nor does absence."""
    if key not in flat:
        return ""
    value = flat[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = float(value)
    return json.dumps(value, default=str)


def label_of(value: Any) -> str:
    """A config's value as a label, spelled as in yaml: ``0.001``, ``true``, ``null``, ``[0.9, 0.98]``."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {label_of(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(label_of, value)) + "]"
    return one_spelling(str(value))


def one_spelling(text: str) -> str:
    """The label of a value of which only the text is known, as it was written on the command line.

    ``1e-3`` and ``0.001`` are one level, and so are ``False`` and ``false``, ``[0.9,0.98]`` and ``[0.9, 0.98]``.
    """
    text = text.strip()
    if text.lower() in ("true", "false", "null"):
        return text.lower()
    if text.startswith("[") and text.endswith("]"):
        return "[" + ", ".join(map(one_spelling, _entries(text[1:-1]))) + "]"
    if text.isdecimal():
        # Digests and seeds have more digits than a float can hold.
        return text.lstrip("0") or "0"
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{number:.12g}" if math.isfinite(number) else text


def _entries(text: str) -> list[str]:
    """The entries of a list; commas within inner brackets divide none."""
    entries, depth = [""], 0
    for sign in text:
        depth += (sign in "[{") - (sign in "]}")
        if sign == "," and not depth:
            entries.append("")
        else:
            entries[-1] += sign
    return entries if text.strip() else []


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key of a nested config; ``ABSENT`` where there is none."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return ABSENT
        value = value[part]
    return value
