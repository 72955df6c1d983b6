"""The cross-entropy of a model's states with the tokens they should predict."""

from typing import cast

from torch import Tensor, nn

from lightning_tx.data.batch import IGNORE
from lightning_tx.model.language_model import LanguageModel


def cross_entropy_sum(net: nn.Module, states_BTD: Tensor, targets_BT: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Summed over the places that have a target; the others are not even projected to the vocabulary."""
    states, targets = states_BTD.flatten(0, 1), targets_BT.flatten()
    # Finding the places takes a look at the numbers, for which a GPU would have to be waited for, but saves work.
    places = (targets != IGNORE).nonzero()[:, 0]
    if len(places) < len(targets):
        states, targets = states.index_select(0, places), targets.index_select(0, places)
    return cast(LanguageModel, net).cross_entropy(states, targets, label_smoothing)
