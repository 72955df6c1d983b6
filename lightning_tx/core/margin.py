"""The difference that matters, as a user states it."""

import math
from dataclasses import dataclass

from lightning_tx.core.errors import ConfigError


@dataclass(frozen=True)
class Margin:
    """The smallest difference that would matter: anything inside it is as good as equal.

    Attributes:
        value: a size in the metric's unit, or a share of the baseline's value.
        relative: whether it is a share.
        text: as it was written, ``0.01`` or ``1%``.
    """

    value: float
    relative: bool
    text: str

    @classmethod
    def parse(cls, text: object) -> "Margin":
        """Read ``0.01`` (the metric's own unit) or ``1%`` (of the baseline's value).

        Raises:
            ConfigError: it is neither, or not between zero and infinity (or 100 %).
        """
        words = str(text).strip()
        relative = words.endswith("%")
        try:
            value = float(words.removesuffix("%")) / (100 if relative else 1)
        except ValueError:
            value = math.nan
        if isinstance(text, bool) or not 0 < value < (1 if relative else math.inf):
            raise ConfigError(
                f"margin: {text!r} is no size of a difference. Choices: a number above 0 in the metric's own unit "
                "(0.01), a percentage of the baseline's value (1%), null."
            )
        return cls(value, relative, words)

    def size(self, reference: float) -> float:
        """The margin in the metric's unit, where the baseline has the value ``reference``."""
        return self.value * abs(reference) if self.relative else self.value
