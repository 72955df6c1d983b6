import random
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lightning_tx import register
from lightning_tx.core.errors import ConfigError
from lightning_tx.data.base import Data, Splits
from lightning_tx.data.split import by_content, fraction_problems

PAIRS = ("()", "[]", "{}", "<>")


@register("data", "brackets")
class Brackets(Data[str]):
    """Strings of brackets of several kinds, each closed by its like: Dyck words.

    Which bracket closes next is known only to who remembers which are open, in their order.

    Source: Hewitt et al. 2020, arXiv:2010.07515; there with a longer limit and other probabilities.

    Args:
        size: how many strings are drawn, over all splits; those drawn twice are kept once.
        kinds: how many kinds of brackets.
        depth: most brackets open at once.
        length: most pairs in a string; a string has at least half as many.
        validation_fraction: share of the strings that is validated on.
        test_fraction: share of the strings that is kept for the test.
    """

    def __init__(
        self,
        *,
        size: Annotated[int, Field(ge=100)] = 5000,
        kinds: Annotated[int, Field(ge=1, le=len(PAIRS))] = 3,
        depth: Annotated[int, Field(ge=1)] = 6,
        length: Annotated[int, Field(ge=4)] = 30,
        validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05,
        test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05,
    ) -> None:
        self.size, self.kinds, self.depth, self.length = size, kinds, depth, length
        self.fractions = (validation_fraction, test_fraction)

    def problems(self) -> list[str]:
        """Fractions that leave nothing to train on; one kind at depth 1, of which there are few strings."""
        problems = fraction_problems(*self.fractions)
        if self.kinds == self.depth == 1:
            problems.append("data.depth: 1 with data.kinds = 1 has one string of each length; set either higher.")
        return problems

    def load(self, cache: Path) -> Splits[str]:
        """The same strings every time; the hash of a string says which split it is in.

        Raises:
            ConfigError: with what ``problems`` finds.
        """
        problems = self.problems()
        if problems:
            raise ConfigError(problems)
        draw = random.Random(0)
        strings = [self.string(draw) for _ in range(self.size)]
        return by_content(list(dict.fromkeys(strings)), *self.fractions)

    def string(self, draw: random.Random) -> str:
        """One string: at every place a bracket is opened or closed with equal chance, where both are possible."""
        pairs = draw.randint(self.length // 2, self.length)
        written, pending = [], []
        while pairs or pending:
            if pairs and len(pending) < self.depth and (not pending or draw.random() < 0.5):
                opening, closing = draw.choice(PAIRS[: self.kinds])
                written.append(opening)
                pending.append(closing)
                pairs -= 1
            else:
                written.append(pending.pop())
        return "".join(written)
