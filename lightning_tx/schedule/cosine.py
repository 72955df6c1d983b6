import math
from typing import Annotated

from pydantic import Field

from lightning_tx.schedule.base import SCHEDULE, Schedule, warmed


@SCHEDULE.register("cosine")
class Cosine(Schedule):
    """Linear warm-up to ``optimizer.lr``, then half a cosine down to a fraction of it at the last step.

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983; without restarts.

    Args:
        warmup_steps: steps of linear warm-up.
        final_fraction: the last learning rate over the highest.
    """

    def __init__(
        self,
        lr: float | None,
        max_steps: int,
        d_model: int,
        *,
        warmup_steps: Annotated[int, Field(ge=0)] = 100,
        final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1,
    ) -> None:
        super().__init__(lr, max_steps, d_model)
        self.warmup_steps, self.final_fraction = warmup_steps, final_fraction

    def __call__(self, step: int) -> float:
        """The learning rate of a step, from 1."""
        if step <= self.warmup_steps:
            return self.lr * warmed(step, self.warmup_steps)
        progress = (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps)
        cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
        return self.lr * (self.final_fraction + (1 - self.final_fraction) * cosine)
