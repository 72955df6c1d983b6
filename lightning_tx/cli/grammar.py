"""Lines of Hydra's language, read one by one; what cannot be read is said with how to write it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from lightning_tx.cli.search_path import CONFIG_GROUPS
from lightning_tx.core.errors import ConfigError


def parse(lines: Sequence[str]) -> list[Override]:
    """Lines of Hydra's language, parsed; patterns of choices are listed where a session is open.

    Raises:
        ConfigError: with each line that cannot be read.
    """
    session = GlobalHydra.instance()
    parser = OverridesParser.create(config_loader=session.config_loader() if session.is_initialized() else None)
    parsed: list[Override] = []
    problems = []
    for line in lines:
        try:
            override = parser.parse_overrides([line])[0]  # unlike parse_override, it lets patterns be listed
        except HydraException as error:
            problems.append(_unreadable(line, parser, error))
            continue
        if not override.key_or_group:
            problems.append(f"{line!r}: there is no key before '='; a value is set as KEY=VALUE.")
        elif _chooses(override.key_or_group) and not override.is_sweep_override() and _is_no_name(override):
            value = line.partition("=")[2]
            problems.append(f"{override.key_or_group}: there is no choice {value}; a choice is a name, such as 'none'.")
        else:
            parsed.append(override)
    if problems:
        raise ConfigError(problems)
    return parsed


def is_choice(key: str) -> bool:
    """Whether a key has a say in what is composed: a group of configs, or one of Hydra's own settings."""
    return _chooses(key) or key.partition(".")[0] == "hydra"


def _chooses(key: str) -> bool:
    return key in CONFIG_GROUPS or "/" in key or "@" in key


def _is_no_name(override: Override) -> bool:
    """Whether Hydra would ask for a name: several names may be chosen, of what is left out one may be told."""
    value: Any = override.value()
    if override.is_delete():
        return not isinstance(value, str | QuotedString | None)
    return not all(isinstance(name, str | QuotedString) for name in (value if isinstance(value, list) else [value]))


def forced(line: str) -> str:
    """A line that sets its value whether or not a config file has the key, which Hydra else insists on."""
    return line if line[:1] in ("+", "~") or is_choice(line.partition("=")[0]) else f"++{line}"


def _unreadable(line: str, parser: OverridesParser, error: HydraException) -> str:
    key, equals, value = line.partition("=")
    if not equals:
        return f"{line!r}: there is no '='; a value is set as KEY=VALUE, with blanks in it as 'KEY=\"two words\"'."
    # A shell leaves it alone in the middle of a word, and within quotes it would be a folder's name.
    text = str(Path(value).expanduser()) if value.startswith("~/") else value
    quoted = f"{key}={QuotedString(text, Quote.double).with_quotes()}"
    try:
        parser.parse_override(quoted)
    except HydraException:
        return f"{line!r}: {key!r} cannot be read as a key."
    if value[:1] in ("[", "{", "'", '"'):
        reason = str(error).splitlines()[0]
        return (
            f"{key}: {value!r} cannot be read ({reason}). Quotes and brackets come in pairs, and a text with "
            f"special characters stands in quotes of its own, as in 'KEY=[\"a (1)\", b]'."
        )
    several = "; each of several values in quotes of its own" if "," in value else ""
    return f"{key}: {value!r} cannot be read without quotes; write {shlex.quote(quoted)}{several}."
