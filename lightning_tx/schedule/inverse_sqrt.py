from typing import Annotated

from pydantic import Field

from lightning_tx.schedule.base import SCHEDULE, Schedule


@SCHEDULE.register("inverse_sqrt")
class InverseSqrt(Schedule):
    """Linear warm-up to ``optimizer.lr``, then decay with the inverse square root of the step.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 5.3, with the highest rate set directly.

    Args:
        warmup_steps: steps of linear warm-up.
    """

    def __init__(
        self, lr: float | None, max_steps: int, d_model: int, *, warmup_steps: Annotated[int, Field(gt=0)] = 4000
    ) -> None:
        super().__init__(lr, max_steps, d_model)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        """The learning rate of a step, from 1."""
        return self.lr * min(step / self.warmup_steps, (self.warmup_steps / step) ** 0.5)
