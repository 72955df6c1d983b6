"""Sizes and parts that components are tested with. Chosen once, so that every choice can be built."""

from collections.abc import Mapping
from typing import Any

from lightning_tx.components.pattern.base import PATTERN
from lightning_tx.core.schema import options_of
from lightning_tx.groups import GROUPS
from lightning_tx.model.body import MODEL
from lightning_tx.testing.declared import noise_options

Config = Mapping[str, Any]

#: Groups that stand inside a model, and are checked in one.
PARTS = ("positions", "attention", "pattern", "norm", "block", "feed_forward", "adapter")
TOPOLOGIES = ("decoder", "encoder", "encoder_decoder")

VOCAB_SIZE = 50
MAX_SEQ_LEN = 16
#: Heads of an even width, an inner width that differs from every other, and few of everything.
SIZES: dict[str, Any] = {
    "d_model": 16,
    "num_heads": 4,
    "head_dim": None,
    "d_ff": 24,
    "max_seq_len": MAX_SEQ_LEN,
    "vocab_size": VOCAB_SIZE,
    "num_layers": 2,
    "num_encoder_layers": 1,
    "num_decoder_layers": 2,
    "dropout": 0.0,
}
#: What stands beside the component in question: heads that share keys, gates, positions that turn with a cache.
BASELINE: dict[str, Config] = {
    "positions": {"name": "rope"},
    "attention": {"name": "multi_head", "num_kv_heads": 2},
    "pattern": {"name": "full"},
    "norm": {"name": "layernorm"},
    "block": {"name": "pre_norm"},
    "feed_forward": {"name": "swiglu"},
    "adapter": {"name": "none"},
}

#: Batch, tokens and source tokens of the inputs.
BATCH, LENGTH, SOURCE_LENGTH = 3, 12, 7
#: The largest distance in a pattern that is tested on ``LENGTH`` tokens.
SMALL_PATTERN = 4


def sized(config: Config, **changes: Any) -> dict[str, Any]:
    """A model's config at the sizes of the tests; options that have no such size stay as they are."""
    known = {option.name for option in options_of(MODEL.get(config["name"]))}
    sizes = SIZES | changes
    return {**config, **{name: value for name, value in sizes.items() if name in known}}


def with_dropout(config: Config, group: str, probability: float) -> dict[str, Any]:
    """A config with this probability in every option that makes training random."""
    return {**config, **dict.fromkeys(noise_options(GROUPS[group].get(config["name"])), probability)}


def shrunk(config: Config) -> dict[str, Any]:
    """A pattern's config scaled down until a dozen tokens show what it does.

    All whole numbers are divided alike, so that the largest becomes ``SMALL_PATTERN``, and are 1 at least.
    """
    options = PATTERN.parse(config).options
    numbers = {name: value for name, value in options.items() if type(value) is int and value > 0}
    largest = max(numbers.values(), default=0)
    if largest <= SMALL_PATTERN:
        return {**config}
    small = {name: max(1, round(value * SMALL_PATTERN / largest)) for name, value in numbers.items()}
    return {**config, **small}
