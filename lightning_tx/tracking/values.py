"""What MLflow can hold: flat text parameters of limited length, and metric names of limited letters."""

import json
import logging
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lightning_tx.core import names
from lightning_tx.tracking.errors import TrackingError

log = logging.getLogger(__name__)

MAX_KEY = 250
MAX_PARAM = 6000
MAX_TAG = 8000
PARAMS_PER_CALL = 100
METRICS_PER_CALL = 1000

_ELLIPSIS = "..."
_REFUSED = re.compile(r"[^/\w.\- ]")


class Point(NamedTuple):
    """One value of one metric; ``timestamp`` in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested dict as dotted keys and text: ``{"model": {"depth": 2}}`` -> ``{"model.depth": "2"}``.

    Strings stay as they are; everything else is written as JSON, lists too.
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{path}."))
        else:
            flat[path] = text(value)
    return flat


def text(value: Any) -> str:
    """A plain value as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def as_json(content: Any) -> str:
    """Plain values as the text of a file."""
    return json.dumps(content, indent=2, default=str, ensure_ascii=False) + "\n"


def batches(items: list[Any], size: int) -> Iterable[list[Any]]:
    """The items in lists of ``size``, the last of what is left."""
    return (items[start : start + size] for start in range(0, len(items), size))


def fit_params(params: Mapping[str, str]) -> dict[str, str]:
    """The parameters as MLflow takes them: refused letters replaced, what is too long cut, each with a warning."""
    fitted: dict[str, str] = {}
    for key, value in params.items():
        name = cut(_REFUSED.sub("_", key), MAX_KEY)
        if name != key:
            log.warning("The parameter %r is recorded as %r: MLflow does not take its name.", key, name)
        if len(value) > MAX_PARAM:
            log.warning("The parameter %r is cut from %d to %d characters in MLflow.", key, len(value), MAX_PARAM)
        fitted[name] = cut(value, MAX_PARAM)
    return fitted


def cut(value: str, length: int) -> str:
    """The text, or its beginning and an ellipsis where it is longer than ``length`` characters."""
    return value if len(value) <= length else value[: length - len(_ELLIPSIS)] + _ELLIPSIS


def check_metric_name(key: str) -> None:
    """Refuse a metric name that MLflow would refuse later, when nobody can say where it came from.

    Raises:
        TrackingError: the name is too long, holds other letters, or is not a plain relative path.
    """
    if len(key) > MAX_KEY:
        raise TrackingError(f"metric {cut(key, 60)!r}: the name has {len(key)} letters, {MAX_KEY} are allowed.")
    refused = sorted(set(_REFUSED.findall(key)))
    if refused:
        raise TrackingError(
            f"metric {key!r}: {' '.join(refused)} cannot be in a name. "
            "Allowed: letters, digits, underscore, dash, period, space, slash."
        )
    if posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == ".":
        raise TrackingError(f"metric {key!r}: the name must be a plain relative path such as '{names.TRAIN}loss'.")
