from typing import Annotated, cast

from pydantic import Field
from torch import nn

from lightning_tx import register
from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.model.language_model import LanguageModel
from lightning_tx.task.base import Loss
from lightning_tx.task.causal_lm import CausalLM
from lightning_tx.task.cross_entropy import cross_entropy_sum, states_of


@register("task", "my_component")
class MyComponent(CausalLM):
    """Predicts each next token, and keeps the normaliser Z of its probabilities near 1.

    Source: Chowdhery et al. 2022, arXiv:2204.02311, section 5.

    Args:
        weight: of the mean of ``log² Z``, added to the loss.
    """

    def __init__(self, *, weight: Annotated[float, Field(ge=0)] = 1e-4) -> None:
        super().__init__()
        self.weight = weight

    def loss(self, net: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy and the penalty, over the places that have a target."""
        output = states_of(net, batch)
        total = cross_entropy_sum(net, output.x, batch.targets_BT)
        logits = cast(LanguageModel, net).logits(output.x[batch.targets_BT != IGNORE])
        penalty = logits.logsumexp(dim=-1).square().mean()
        return Loss(total, batch.num_targets, {**output.losses, "log_z": (penalty, self.weight)}, output.stats)
