"""What the config folder ``trainer`` may set."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(gt=0)]


class TrainerOptions(BaseModel):
    """How long and on what a model is trained; checked like a component's options.

    Attributes:
        max_steps: optimizer steps.
        batch_size: sequences in one forward pass.
        accumulate: forward passes to an optimizer step; the gradient is a mean over all their targets.
        precision: ``32``, or ``bf16-mixed`` for matrix products in bfloat16.
        gradient_clip: largest norm of the gradient; null for none.
        val_every: steps between validations; one more follows the last step.
        checkpoint_every: steps between checkpoints to resume from.
        log_every: steps between points of the training curve.
        compile: whether ``torch.compile`` compiles the model.
        accelerator: what to train on; ``auto`` takes a GPU where there is one.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    max_steps: Count = 1000
    batch_size: Count = 32
    accumulate: Count = 1
    precision: Literal[32, "bf16-mixed"] = 32
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    val_every: Count = 100
    checkpoint_every: Count = 100
    log_every: Count = 10
    compile: bool = False
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
