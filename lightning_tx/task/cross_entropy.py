"""A model's states, and their cross-entropy with the tokens they should predict."""

import math
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from lightning_tx.core.context import Output
from lightning_tx.data.batch import IGNORE, Batch, PairBatch
from lightning_tx.model.body import Body
from lightning_tx.model.heads.language_model import LanguageModelHead


def head_of(model: Body) -> LanguageModelHead:
    """The head of a model that predicts tokens."""
    return cast(LanguageModelHead, model.head)


def states_of(model: Body, batch: Batch) -> Output:
    """The states [B, T, D] of rows of packed documents."""
    return model(
        batch.tokens_BT,
        positions_BT=batch.positions_BT,
        documents_BT=batch.documents_BT,
        token_mask_BT=batch.token_mask_BT,
    )


def without_seen(model: Body, batch: Batch) -> Batch:
    """The batch without the targets that a prefix lets the model see."""
    ahead = model.seen_ahead
    if ahead == 0:
        return batch
    positions = batch.positions_BT
    if positions is None:
        positions = torch.arange(batch.tokens_BT.shape[1], device=batch.tokens_BT.device)[None]
    return replace(batch, targets_BT=batch.targets_BT.masked_fill(positions + 1 < ahead, IGNORE))


def target_states_of(model: Body, batch: PairBatch) -> Output:
    """The states [B, T, D] of the targets of pairs."""
    return model(
        batch.source_BS,
        batch.tokens_BT,
        source_token_mask_BS=batch.source_token_mask_BS,
        token_mask_BT=batch.targets_BT != IGNORE,
        padding_last=True,
    )


def perplexity(loss: float) -> float:
    """``exp(loss)``; infinite for a diverged run, whose loss has an exponential that no float can hold."""
    return math.inf if loss >= 700 else math.exp(loss)


def cross_entropy_sum(model: Body, states_BTD: Tensor, targets_BT: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Summed over the places that have a target; the others are not even projected to the vocabulary."""
    states, targets = states_BTD.flatten(0, 1), targets_BT.flatten()
    # Finding the places takes a look at the numbers, for which a GPU would have to be waited for, but saves work.
    places = (targets != IGNORE).nonzero()[:, 0]
    if len(places) < len(targets):
        states, targets = states.index_select(0, places), targets.index_select(0, places)
    return head_of(model).cross_entropy(states, targets, label_smoothing)
