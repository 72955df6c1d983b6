from typing import Annotated

from pydantic import Field

from lightning_tx import register
from lightning_tx.schedule.base import Schedule, warmed


@register("schedule", "my_component")
class MyComponent(Schedule):
    """Linear warm-up to ``optimizer.lr``, then a straight line to 0 after the last step.

    Args:
        warmup_steps: steps of linear warm-up.
    """

    def __init__(
        self, lr: float | None, max_steps: int, d_model: int, *, warmup_steps: Annotated[int, Field(ge=0)] = 100
    ) -> None:
        super().__init__(lr, max_steps, d_model)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        """The learning rate of a step, from 1."""
        left = max(0, self.max_steps + 1 - step) / max(1, self.max_steps + 1 - self.warmup_steps)
        return self.lr * warmed(step, self.warmup_steps) * min(1.0, left)
