"""Experiments: files that set keys of the whole config, each of which has to say so in its first line."""

import codecs
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from lightning_tx.cli.translation import config_folders
from lightning_tx.core.errors import ConfigError

#: The group, and the node that a file of it fills unless its first line says otherwise.
EXPERIMENT = "experiment"
HEADER = "# @package _global_"


def refuse_unread(config: DictConfig, chosen: Mapping[str, Any]) -> None:
    """Refuse what was set below ``experiment``, where nothing reads it; a session must be open.

    Args:
        config: as Hydra composes it.
        chosen: the label of each group.

    Raises:
        ConfigError: it names the keys, and the files that set them.
    """
    unread = config.get(EXPERIMENT)
    if not unread:
        return
    keys = [str(key) for key in unread] if isinstance(unread, DictConfig) else []
    names = ", ".join(f"{EXPERIMENT}.{key}" for key in keys) or f"{EXPERIMENT}: {unread}"
    files = {
        file: f"the first line of '{file}' must be {HEADER}{mark}"
        for folder in config_folders()
        for file in sorted((folder / EXPERIMENT).rglob("*.yaml"))
        for mark in _lost_header(file, keys)
    }
    # One that inherits another by its defaults is chosen though the other sets the keys.
    own = [advice for file, advice in files.items() if file.stem == str(chosen.get(EXPERIMENT)).rpartition("/")[2]]
    advice = "; ".join(own or files.values()) or "set the keys of the config itself"
    raise ConfigError(f"{names}: nothing reads what is set below {EXPERIMENT!r}; {advice}.")


def _lost_header(file: Path, keys: Collection[str]) -> list[str]:
    """What to say of a file that sets one of some keys and is not read as one of the whole config; else nothing."""
    content = file.read_bytes()
    first = content.lstrip().partition(b"\n")[0]
    if b"@package" in first and not content.startswith(codecs.BOM_UTF8):
        return []
    try:
        own = OmegaConf.load(file)
    except (YAMLError, UnicodeDecodeError):
        return []  # another file than those that were composed
    if not isinstance(own, DictConfig) or set(keys).isdisjoint(map(str, own)):
        return []
    mark = ", without the byte order mark (BOM) before it" if content.startswith(codecs.BOM_UTF8) else ""
    return [mark]
