"""What the config folder ``trainer`` may set."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import STRICT
from lightning_tx.data.batch import BatchSize

Count = Annotated[int, Field(gt=0)]


class TrainerOptions(BaseModel):
    """How long and on what a model is trained; checked like a component's options.

    Attributes:
        max_steps: optimizer steps.
        batch_size: sequences (or pairs) in one forward pass; null where ``batch_tokens`` says it.
        batch_tokens: tokens in one forward pass, padding and both sides of pairs counted; null where ``batch_size``
            says it.
        accumulate: forward passes to an optimizer step; the gradient is a mean over all their targets.
        precision: ``32``, ``bf16-mixed`` for matrix products in bfloat16, or ``auto`` for what is faster here.
        gradient_clip: largest norm of the gradient; null for none.
        val_every: steps between validations; one more follows the last step.
        patience: validations without a better primary metric after which training ends; null to go to the last step.
        average: the run ends with the mean of the weights at this many last validations; null for the weights with
            the best primary metric.
        final_validations: over how many last validations the numbers of the end of training are means; 1 for the last.
        checkpoint_every: steps between checkpoints to resume from.
        keep: which weights a finished run keeps: ``best``, those with the best primary metric (or the mean that
            ``average`` asks for); ``last``, those at the end of training; ``none``. No number depends on it.
        log_every: steps between points of the training curve.
        compile: whether ``torch.compile`` compiles the model.
        accelerator: what to train on; ``auto`` takes a GPU where there is one.
    """

    model_config = STRICT

    max_steps: Count = 1000
    batch_size: Count | None = 32
    batch_tokens: Count | None = None
    accumulate: Count = 1
    precision: Literal["auto", 32, "bf16-mixed"] = "auto"
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    val_every: Count = 100
    patience: Count | None = None
    average: Annotated[int, Field(ge=2)] | None = None
    final_validations: Count = 1
    checkpoint_every: Count = 100
    keep: Literal["best", "last", "none"] = "best"
    log_every: Count = 10
    compile: bool = False
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    @property
    def keeps_weights(self) -> bool:
        """Whether a finished run has weights."""
        return self.keep != "none"

    @property
    def batch(self) -> BatchSize:
        """What one forward pass takes.

        Raises:
            ConfigError: not exactly one of ``batch_size`` and ``batch_tokens`` is given.
        """
        if (self.batch_size is None) == (self.batch_tokens is None):
            raise ConfigError(
                f"trainer.batch_size: {self.batch_size} and trainer.batch_tokens: {self.batch_tokens}; "
                "set one of them and the other to null."
            )
        return BatchSize(self.batch_size, self.batch_tokens)
