import torch
from torch import Tensor

from lightning_tx import register
from lightning_tx.core.measure import Measure
from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.data.corpus import Corpus, SplitName
from lightning_tx.model.body import Body
from lightning_tx.task.causal_lm import CausalLM, Likelihood
from lightning_tx.task.cross_entropy import head_of, states_of


class MyComponentEvaluator(Likelihood):
    """How often the most probable next token is the right one, besides the likelihood."""

    right: Tensor

    def __init__(self, num_bytes: int) -> None:
        super().__init__(num_bytes)
        self.add_state("right", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, model: Body, batch: Batch) -> None:
        """Add the batch's targets."""
        super().update(model, batch)
        places = batch.targets_BT != IGNORE
        logits = head_of(model).logits(states_of(model, batch).x[places])
        self.right += (logits.argmax(dim=-1) == batch.targets_BT[places]).sum()

    def compute(self) -> dict[str, float]:
        """All numbers by name, over all targets seen."""
        return {**super().compute(), "my_component": int(self.right) / int(self.targets)}


@register("task", "my_component")
class MyComponent(CausalLM):
    """Predicts each next token, and is judged by a number of its own.

    Args:
        label_smoothing: share of the target's probability that is spread evenly, in training only.
    """

    measures = {**CausalLM.measures, "my_component": Measure("max")}
    primary = "my_component"

    def evaluator(self, corpus: Corpus, split: SplitName) -> MyComponentEvaluator:
        """Likelihood and the share that is right."""
        return MyComponentEvaluator(corpus.split(split).num_bytes)
