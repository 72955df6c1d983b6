"""What makes two runs the same run."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lightning_tx.core import plugin_files, registry
from lightning_tx.model.parts import GROUPS as PARTS
from lightning_tx.runs import plugins
from lightning_tx.runs.materials import materials
from lightning_tx.training.options import TrainerOptions

#: Keys that do not change what is learnt: where files lie, what is recorded, which device does the work.
VOLATILE = (
    "root",
    "study",
    "margin",
    "plugins",
    "experiment",
    "tracking",
    "trainer.log_every",
    "trainer.checkpoint_every",
    "trainer.accelerator",
)


def identify(config: Mapping[str, Any]) -> str:
    """The identity of a checked config; reads the data and trains the tokenizer if that was not done yet."""
    made = materials(config)
    code = plugin_files.digests(plugins.files_of(config))
    own = [f"{group} {digest}" for group, digest in code.items() if group not in VOLATILE]
    return identity(config, made.splits.digest, made.tokenizer_digest, *own)


def identity(config: Mapping[str, Any], *digests: str) -> str:
    """A hash of a checked config and of the data it reads: 16 hexadecimal characters.

    Volatile keys and options at their default do not enter, so that a run keeps its identity when the project learns
    a new option.

    Args:
        config: the full resolved config.
        digests: digests of the data, the tokenizer and the plugin files.
    """
    content = {key: _essential(key, value) for key, value in config.items() if key not in VOLATILE}
    text = json.dumps([content, *digests], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _essential(key: str, value: Any) -> Any:
    if key == "trainer":
        given = TrainerOptions(**value).model_dump(exclude_defaults=True)
        return {name: option for name, option in given.items() if f"trainer.{name}" not in VOLATILE}
    if key not in registry.GROUPS:
        return value
    essential = _without_defaults(key, value)
    if "overrides" in essential and key == "model":
        essential["overrides"] = [_essential_override(override) for override in essential["overrides"]]
    return essential


def _essential_override(override: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _without_defaults(key, value) if key in PARTS else value for key, value in override.items()}


def _without_defaults(group: str, config: Mapping[str, Any]) -> dict[str, Any]:
    options = registry.options(group, config)
    defaults = {knob.name: knob.default for knob in registry.knobs(registry.get(group, config["name"]))}
    changed = {name: value for name, value in options.items() if value != defaults[name]}
    return {"name": config["name"], **changed}
