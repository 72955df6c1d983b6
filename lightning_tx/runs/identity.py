"""What makes two runs the same run."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lightning_tx.runs import plugin_files
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.materials import materials_of
from lightning_tx.runs.plugins import files_of
from lightning_tx.runs.volatile import VOLATILE


def identify(config: RunConfig) -> str:
    """The identity of a run; reads the data and trains the tokenizer if that was not done yet."""
    materials = materials_of(config)
    code = plugin_files.digests(files_of(config.all_choices()))
    own = [f"{group} {digest}" for group, digest in code.items()]
    return identity(config, materials.splits.digest, materials.tokenizers.digest, *own)


def identity(config: RunConfig, *digests: str) -> str:
    """A hash of what a run reads: 16 hexadecimal characters.

    Volatile keys, options at their default and what has no influence on the run do not enter, so that a run keeps its
    identity when the project learns a new option.

    Args:
        config: the run's config.
        digests: digests of the data, the tokenizer and the plugin files.
    """
    text = json.dumps([_essentials(config), *digests], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _essentials(config: RunConfig) -> dict[str, Any]:
    content: dict[str, Any] = {
        group: choice.essential()
        for group, choice in config.choices.items()
        if group not in VOLATILE and config.reads(group)
    }
    model = {key: value for key, value in content["model"].items() if config.reads(f"model.{key}")}
    if "overrides" in model:
        model["overrides"] = [_essential_override(config, index) for index in range(len(config.model.overrides))]
    trainer = config.trainer.model_dump(exclude_defaults=True)
    content["model"] = model
    content["trainer"] = {key: value for key, value in trainer.items() if f"trainer.{key}" not in VOLATILE}
    return {**content, "seed": config.seed, "init_from": config.raw["init_from"]}


def _essential_override(config: RunConfig, index: int) -> Mapping[str, Any]:
    override = config.model.overrides[index]
    place = {"stack": override.stack, "layers": override.layers, "site": override.site}
    chosen = {
        group: choice.essential()
        for group, choice in override.choices.items()
        if (index, group) not in config.unread_overrides
    }
    return {**{key: value for key, value in place.items() if value is not None}, **chosen}
