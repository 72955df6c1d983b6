from typing import Annotated

from pydantic import Field

from lightning_tx import register
from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.model.body import Body
from lightning_tx.task.base import Loss
from lightning_tx.task.causal_lm import CausalLM
from lightning_tx.task.cross_entropy import cross_entropy_sum, head_of, states_of


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

    def loss(self, model: Body, batch: Batch) -> Loss:
        """Cross-entropy and the penalty, over the places that have a target."""
        output = states_of(model, batch)
        total = cross_entropy_sum(model, output.x, batch.targets_BT)
        logits = head_of(model).logits(output.x[batch.targets_BT != IGNORE])
        penalty = logits.logsumexp(dim=-1).square().mean()
        return Loss(total, batch.num_targets, {**output.losses, "log_z": (penalty, self.weight)}, output.stats)
