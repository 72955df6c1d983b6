"""From a config to a checked, initialised model."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch

from lightning_tx.core.errors import ConfigError, naming
from lightning_tx.model.body import Body, language_model
from lightning_tx.model.config import ModelConfig
from lightning_tx.model.heads.base import Head
from lightning_tx.model.parts import Parts
from lightning_tx.model.sizes import Sizes

#: From a body, and what the data say, to the head that belongs on it.
HeadMaker = Callable[[Body, Sizes], Head]


def build_model(
    config: ModelConfig | Mapping[str, Any],
    *,
    vocab_size: int | None = None,
    source_vocab_size: int | None = None,
    num_classes: int | None = None,
    head: HeadMaker = language_model,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Body:
    """Build the body that a config describes, a head on it, its adapter applied, every parameter initialised.

    Args:
        config: as :meth:`ModelConfig.parse` takes or gives it.
        vocab_size: size of the tokenizer's vocabulary, where the model's own ``vocab_size`` is null.
        source_vocab_size: that of the source's tokenizer, for models with a source; None for ``vocab_size``.
        num_classes: how many classes a head is to tell apart, where it does that.
        head: makes the head: :meth:`Task.head` of the task that the model is for, a language model's by default.
        seed: seed of the initialisation.
        device: where to build; ``"meta"`` gives shapes without values, at any size.

    Raises:
        ConfigError: with every problem of the config.
    """
    config = config if isinstance(config, ModelConfig) else ModelConfig.parse(config)
    sizes = Sizes(vocab_size, source_vocab_size or vocab_size, num_classes)
    model = assembled(config, Parts(config), sizes, head, device)
    if not any(parameter.is_meta for parameter in model.parameters()):
        model.initialise(seed)
        config.adapter.create().start_from_base(model)
    return model


def assembled(
    config: ModelConfig,
    parts: Parts,
    sizes: Sizes,
    head: HeadMaker,
    device: torch.device | str,
) -> Body:
    """A model with its head and its adapter, its parameters as its modules draw them.

    Raises:
        ConfigError: with every problem of the body and its parts, or of the head or the adapter.
    """
    # Modules draw values when they are made, which initialise replaces: the caller's generator stays untouched.
    with torch.device(device), torch.random.fork_rng(devices=[]):
        body = config.model.create(parts, sizes)
        parts.finish()
        model = body.attach(head(body, sizes))
        try:
            return cast(Body, config.adapter.create().apply(model))
        except ConfigError as error:
            # An adapter knows the modules that it looks for; which choices they come from is known here.
            met = {group: config.parts[group].name for group in ("attention", "feed_forward") if parts.reads(group)}
            met = met or {"model": config.model.name}
            raise ConfigError(naming(error.problems, adapter=config.adapter.name, **met)) from error
