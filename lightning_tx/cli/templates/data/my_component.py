import random
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lightning_tx import register
from lightning_tx.data.base import Data, Splits
from lightning_tx.data.split import by_content, fraction_problems


@register("data", "my_component")
class MyComponent(Data[str]):
    """Palindromes: random letters, and the same letters backwards.

    Args:
        size: how many are drawn, over all splits.
        validation_fraction: share of them that is validated on.
        test_fraction: share of them that is kept for the test.
    """

    def __init__(
        self,
        *,
        size: Annotated[int, Field(ge=1000)] = 5000,
        validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05,
        test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05,
    ) -> None:
        self.size, self.fractions = size, (validation_fraction, test_fraction)

    def problems(self) -> list[str]:
        """Fractions that leave nothing to train on."""
        return fraction_problems(*self.fractions)

    def load(self, cache: Path) -> Splits[str]:
        """The same texts every time; the hash of a text says which split it is in."""
        draw = random.Random(0)
        halves = ["".join(draw.choices("abcd", k=draw.randint(5, 12))) for _ in range(self.size)]
        return by_content([half + half[::-1] for half in dict.fromkeys(halves)], *self.fractions)
