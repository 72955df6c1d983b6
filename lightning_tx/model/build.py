"""From a plain dict to a checked, initialised model."""

from collections.abc import Mapping
from typing import Any

import torch

from lightning_tx.core import registry
from lightning_tx.core.errors import ConfigError, choices, naming
from lightning_tx.model.language_model import LanguageModel
from lightning_tx.model.parts import GROUPS, Parts, check_parts


def check_model(config: Mapping[str, Any]) -> list[str]:
    """Every problem of the model's part of a config that shows without building it."""
    problems: list[str] = []
    if "model" not in config:
        return [f"model: missing. Choices: {choices(registry.names('model'))}."]
    problems += registry.check("model", config["model"])
    overrides = config["model"].get("overrides", []) if isinstance(config["model"], Mapping) else []
    problems += check_parts(config, overrides if isinstance(overrides, list) else [])
    if "adapter" in config:
        problems += registry.check("adapter", config["adapter"])
    return problems


def build_model(
    config: Mapping[str, Any],
    *,
    vocab_size: int | None = None,
    source_vocab_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> LanguageModel:
    """Build the model that a config describes, its adapter applied, every parameter initialised.

    Args:
        config: ``model``, ``positions``, ``attention``, ``pattern``, ``norm``, ``block``, ``feed_forward`` and, if
            there is one, ``adapter``, each with ``name`` and options; other keys are ignored.
        vocab_size: size of the tokenizer's vocabulary, where the model's own ``vocab_size`` is null.
        source_vocab_size: that of the source's tokenizer, for models with a source; None for ``vocab_size``.
        seed: seed of the initialisation.
        device: where to build; ``"meta"`` gives shapes without values, at any size.

    Raises:
        ConfigError: with every problem of the config.
    """
    problems = check_model(config)
    if problems:
        raise ConfigError(problems)
    parts = Parts({group: config[group] for group in GROUPS}, config["model"].get("overrides", []))
    # Modules draw values when they are made, which initialise replaces: the caller's generator stays untouched.
    with torch.device(device), torch.random.fork_rng(devices=[]):
        inputs = registry.get("model", config["model"]["name"]).num_inputs
        sizes = (vocab_size, source_vocab_size or vocab_size)[:inputs]
        model: LanguageModel = registry.create("model", config["model"], parts, *sizes)
        parts.finish()
        if "adapter" in config:
            model = _adapted(model, config)
    if not any(parameter.is_meta for parameter in model.parameters()):
        model.initialise(seed)
    return model


def _adapted(model: LanguageModel, config: Mapping[str, Any]) -> LanguageModel:
    try:
        return registry.create("adapter", config["adapter"]).apply(model)
    except ConfigError as error:
        # An adapter knows the modules that it looks for; which choices they come from is known here.
        met = {group: config[group]["name"] for group in ("adapter", "attention", "feed_forward")}
        raise ConfigError(naming(error.problems, **met)) from error
