from typing import Annotated

from pydantic import Field
from torch import Tensor

from lightning_tx.components.pattern.base import PATTERN, Pattern


@PATTERN.register("prefix")
class Prefix(Pattern):
    """A prefix language model: the first ``length`` tokens see each other in both directions, the others their past.

    What can be seen ahead is not to be predicted: tasks leave the tokens of the prefix out of the loss. A prompt is to
    be read in one pass, at least as far as the prefix goes.

    Source: Liu et al. 2018, arXiv:1801.10198; Raffel et al. 2019, arXiv:1910.10683, section 3.2.

    Args:
        length: tokens of the prefix, in each document.
    """

    def __init__(self, *, length: Annotated[int, Field(gt=0)] = 16) -> None:
        super().__init__()
        self.prefix = length

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """None: the past is not restricted."""
        return None
