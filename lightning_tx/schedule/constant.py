from typing import Annotated

from pydantic import Field

from lightning_tx.schedule.base import SCHEDULE, Schedule, warmed


@SCHEDULE.register("constant")
class Constant(Schedule):
    """``optimizer.lr`` throughout, after a linear warm-up.

    Args:
        warmup_steps: steps of linear warm-up.
    """

    def __init__(
        self, lr: float | None, max_steps: int, d_model: int, *, warmup_steps: Annotated[int, Field(ge=0)] = 0
    ) -> None:
        super().__init__(lr, max_steps, d_model)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        """The learning rate of a step, from 1."""
        return self.lr * warmed(step, self.warmup_steps)
