from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from lightning_tx import register
from lightning_tx.optimizer.groups import decay_groups


@register("optimizer", "my_component")
class MyComponent(torch.optim.SGD):
    """Stochastic gradient descent with Nesterov momentum.

    Args:
        lr: the highest learning rate, shaped by the schedule; null where the schedule sets it by itself.
        momentum: share of the last step that is kept.
        weight_decay: pulls matrices and embeddings towards zero; biases and gains never.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: Annotated[float, Field(gt=0)] | None = 0.1,
        momentum: Annotated[float, Field(gt=0, lt=1)] = 0.9,
        weight_decay: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        # The schedule multiplies 1.0 by the learning rate of each step.
        super().__init__(decay_groups(model, weight_decay), lr=1.0, momentum=momentum, nesterov=True)
