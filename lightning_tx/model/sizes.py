"""What the data say about the sizes of a model."""

from dataclasses import dataclass

from lightning_tx.core.errors import ConfigError


@dataclass(frozen=True)
class Sizes:
    """Sizes that a model takes from what it is trained on; None for what is not known, or not there.

    Attributes:
        vocab_size: entries of the vocabulary (V), the target's where there are two.
        source_vocab_size: entries of the source's vocabulary, the target's where both share one.
        num_classes: classes (C) that examples are sorted into.
    """

    vocab_size: int | None = None
    source_vocab_size: int | None = None
    num_classes: int | None = None

    def known(self, name: str) -> int:
        """A size that is needed.

        Raises:
            ConfigError: it is not known.
        """
        size = getattr(self, name)
        if size is None:
            raise ConfigError(f"{name}: the model needs it from the data, and there are none; pass it to build_model.")
        return size
