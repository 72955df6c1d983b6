"""From a config to a checked, initialised model."""

from collections.abc import Mapping
from typing import Any, cast

import torch

from lightning_tx.core.errors import ConfigError, naming
from lightning_tx.model.config import ModelConfig
from lightning_tx.model.language_model import LanguageModel
from lightning_tx.model.parts import Parts


def build_model(
    config: ModelConfig | Mapping[str, Any],
    *,
    vocab_size: int | None = None,
    source_vocab_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> LanguageModel:
    """Build the model that a config describes, its adapter applied, every parameter initialised.

    Args:
        config: as :meth:`ModelConfig.parse` takes or gives it.
        vocab_size: size of the tokenizer's vocabulary, where the model's own ``vocab_size`` is null.
        source_vocab_size: that of the source's tokenizer, for models with a source; None for ``vocab_size``.
        seed: seed of the initialisation.
        device: where to build; ``"meta"`` gives shapes without values, at any size.

    Raises:
        ConfigError: with every problem of the config.
    """
    config = config if isinstance(config, ModelConfig) else ModelConfig.parse(config)
    model = assembled(config, Parts(config), vocab_size, source_vocab_size, device)
    if not any(parameter.is_meta for parameter in model.parameters()):
        model.initialise(seed)
    return model


def assembled(
    config: ModelConfig,
    parts: Parts,
    vocab_size: int | None,
    source_vocab_size: int | None,
    device: torch.device | str,
) -> LanguageModel:
    """A model with its adapter, its parameters as its modules draw them.

    Raises:
        ConfigError: with every problem of the parts, or of the adapter.
    """
    # Modules draw values when they are made, which initialise replaces: the caller's generator stays untouched.
    with torch.device(device), torch.random.fork_rng(devices=[]):
        inputs = config.model.component.num_inputs
        sizes = (vocab_size, source_vocab_size or vocab_size)[:inputs]
        model = config.model.create(parts, *sizes)
        parts.finish()
        try:
            return cast(LanguageModel, config.adapter.create().apply(model))
        except ConfigError as error:
            # An adapter knows the modules that it looks for; which choices they come from is known here.
            met = {group: config.parts[group].name for group in ("attention", "feed_forward")}
            raise ConfigError(naming(error.problems, adapter=config.adapter.name, **met)) from error
