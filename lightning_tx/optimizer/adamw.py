from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from lightning_tx.optimizer.base import OPTIMIZER
from lightning_tx.optimizer.groups import decay_groups


@OPTIMIZER.register("adamw")
class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay; with ``weight_decay=0`` it is Adam.

    Source: Loshchilov and Hutter 2017, arXiv:1711.05101; Kingma and Ba 2014, arXiv:1412.6980.

    Args:
        model: what is trained.
        lr: the highest learning rate, shaped by the schedule; null where the schedule sets it by itself.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of squared gradients.
        eps: added to the root of the mean square.
        weight_decay: shrinks matrices and embeddings by ``lr · weight_decay`` a step; biases and gains never.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: Annotated[float, Field(gt=0)] | None = 3e-3,
        beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        beta2: Annotated[float, Field(ge=0, lt=1)] = 0.98,
        eps: Annotated[float, Field(gt=0)] = 1e-9,
        weight_decay: Annotated[float, Field(ge=0)] = 0.1,
    ) -> None:
        # The schedule multiplies 1.0 by the learning rate of each step.
        super().__init__(decay_groups(model, weight_decay), lr=1.0, betas=(beta1, beta2), eps=eps, fused=True)
