"""Messages without secrets: those of the environment, of the words that were typed, of the configs composed."""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lightning_tx.core.redaction import REDACTED, redact_message, redact_text, secrets_in, secrets_of, secrets_typed

_known: set[str] = set()


def keep_secret(config: Mapping[str, Any]) -> None:
    """Show none of a config's secrets from now on."""
    _known.update(secrets_in(config))


def keep_typed(words: Iterable[str]) -> None:
    """Show none of a command line's secrets from now on."""
    _known.update(secrets_typed(words))


def shown(message: str) -> str:
    """A message of an error as it is shown."""
    return redact_message(message, _all())


def shown_frames(text: str) -> str:
    """What a program says, such as a traceback, as it is shown."""
    return redact_text(text, _all())


def without_value(override: str) -> str:
    """An override whose value, if there is a secret in it, is hidden as a whole, so that it can still be parsed."""
    return override if redact_text(override, _all()) == override else f"{override.partition('=')[0]}='{REDACTED}'"


def guard_logs() -> None:
    """Leave secrets out of what libraries log."""
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler is not None and not isinstance(handler.formatter, _Redacted):
            handler.setFormatter(_Redacted(handler.formatter or logging.Formatter()))


class _Redacted(logging.Formatter):
    """Formats as another formatter does, without secrets."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return shown_frames(self._formatter.format(record))


def _all() -> frozenset[str]:
    return secrets_of(os.environ) | _known
