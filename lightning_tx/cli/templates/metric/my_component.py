from typing import cast

import torch
from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.core.measure import Measure
from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.data.corpus import Corpus, SplitName
from lightning_tx.model.language_model import LanguageModel
from lightning_tx.task.causal_lm import CausalLM, Likelihood
from lightning_tx.task.cross_entropy import states_of


class MyComponentMetric(Likelihood):
    """How often the most probable next token is the right one, besides the likelihood."""

    right: Tensor

    def __init__(self, num_bytes: int) -> None:
        super().__init__(num_bytes)
        self.add_state("right", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, net: nn.Module, batch: Batch) -> None:
        """Add the batch's targets."""
        super().update(net, batch)
        places = batch.targets_BT != IGNORE
        logits = cast(LanguageModel, net).logits(states_of(net, batch).x[places])
        self.right += (logits.argmax(dim=-1) == batch.targets_BT[places]).sum()

    def compute(self) -> dict[str, float]:
        """All numbers by name, over all targets seen."""
        return {**super().compute(), "my_component": int(self.right) / int(self.targets)}


@register("task", "my_component")
class MyComponent(CausalLM):
    """Predicts each next token, and is judged by a metric of its own.

    Args:
        label_smoothing: share of the target's probability that is spread evenly, in training only.
    """

    measures = {**CausalLM.measures, "my_component": Measure("max")}
    primary = "my_component"

    def metric(self, corpus: Corpus, split: SplitName) -> MyComponentMetric:
        """The metric of a split."""
        return MyComponentMetric(corpus.split(split).num_bytes)
