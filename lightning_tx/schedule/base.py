"""The interface of the group ``schedule``."""

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.group import Group


class Schedule:
    """The learning rate as a function of the step.

    Args:
        lr: ``optimizer.lr``, the highest learning rate.
        max_steps: optimizer steps of the whole run.
        d_model: width of the model.

    Raises:
        ConfigError: ``lr`` is null.
    """

    def __init__(self, lr: float | None, max_steps: int, d_model: int) -> None:
        if lr is None:
            raise ConfigError("optimizer.lr: null, but this schedule shapes it; set a number or choose schedule=noam.")
        self.lr, self.max_steps = lr, max_steps

    def __call__(self, step: int) -> float:
        """The learning rate of a step, from 1."""
        raise NotImplementedError


def warmed(step: int, warmup_steps: int) -> float:
    """Linear warm-up: rises to 1 at ``warmup_steps`` and stays."""
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0


SCHEDULE = Group("schedule", Schedule, __package__, gives=("lr", "max_steps", "d_model"))
