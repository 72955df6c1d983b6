from typing import Annotated

from pydantic import Field
from torch import Tensor

from lightning_tx.components.pattern.base import PATTERN, Columns, Part, Pattern, SameBlock
from lightning_tx.core.errors import ConfigError


@PATTERN.register("fixed")
class Fixed(Pattern):
    """The token's own block of ``block`` positions, and the last ``summary`` positions of every block.

    Source: Child et al. 2019, arXiv:1904.10509, section 4.2.

    Args:
        block: positions of a block.
        summary: columns of each block that every token looks at.

    Raises:
        ConfigError: a block has fewer positions than summary columns.
    """

    def __init__(self, *, block: Annotated[int, Field(gt=0)] = 128, summary: Annotated[int, Field(gt=0)] = 8) -> None:
        super().__init__()
        if summary > block:
            raise ConfigError(f"pattern.summary: {summary} is more than the {block} positions of pattern.block.")
        self.block, self.summary = block, summary

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``q // block = k // block``, or the key is a summary."""
        return (q_positions // self.block == k_positions // self.block) | self.is_summary(k_positions)

    def is_summary(self, positions: Tensor) -> Tensor:
        """Whether these are among the last positions of their block."""
        return positions % self.block >= self.block - self.summary

    def parts(self) -> tuple[Part, ...]:
        """The own block, and the summary columns."""
        return (SameBlock(self.block), Columns(self.is_summary))
