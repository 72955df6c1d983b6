from typing import Annotated

from pydantic import Field

from lightning_tx.core.errors import ConfigError
from lightning_tx.schedule.base import SCHEDULE, Schedule


@SCHEDULE.register("noam")
class Noam(Schedule):
    """``factor · d_model^-0.5 · min(step^-0.5, step · warmup^-1.5)``, whatever ``optimizer.lr``, which has to be null.

    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 3.

    Args:
        factor: multiplies the whole.
        warmup_steps: steps of linear warm-up.

    Raises:
        ConfigError: ``optimizer.lr`` is set too.
    """

    def __init__(
        self,
        lr: float | None,
        max_steps: int,
        d_model: int,
        *,
        factor: Annotated[float, Field(gt=0)] = 1.0,
        warmup_steps: Annotated[int, Field(gt=0)] = 4000,
    ) -> None:
        if lr is not None:
            raise ConfigError(f"optimizer.lr: {lr} has no effect with schedule=noam; set optimizer.lr=null.")
        super().__init__(factor * d_model**-0.5, max_steps, d_model)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        """The learning rate of a step, from 1."""
        return self.lr * min(step**-0.5, step * self.warmup_steps**-1.5)
