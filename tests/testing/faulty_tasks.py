"""Tasks with one fault each."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from lightning_tx.core.measure import Measure
from lightning_tx.data.corpus import SplitName
from lightning_tx.task.base import Loss
from lightning_tx.task.causal_lm import CausalLM, Likelihood
from lightning_tx.task.masked_lm import MaskedLM
from lightning_tx.task.translation import Translation
from tests.testing.planted import Fault


class SelectsByWhatItLacks(CausalLM):
    primary = "accuracy"


class DeclaresWhatItDoesNotGive(CausalLM):
    measures: Mapping[str, Measure] = {**CausalLM.measures, "accuracy": Measure("max")}


class CountsPlaces(CausalLM):
    def loss(self, model, batch):
        loss = super().loss(model, batch)
        return replace(loss, count=torch.tensor(batch.targets_BT.numel()))


class ScoresWhatIsIgnored(MaskedLM):
    def loss(self, model, batch):
        loss = super().loss(model, replace(batch, targets_BT=batch.targets_BT.clamp(min=0)))
        return replace(loss, count=batch.num_targets)


class WeighsByTheBatch(CausalLM):
    def loss(self, model, batch):
        loss = super().loss(model, batch)
        return replace(loss, sum=loss.sum * len(batch.tokens_BT))


class ForgetsTheMask(MaskedLM):
    def loss(self, model, batch):
        return super().loss(model, replace(batch, token_mask_BT=None))


class ForgetsTheSourcesMask(Translation):
    def loss(self, model, batch):
        return super().loss(model, replace(batch, source_token_mask_BS=None))


class MeansOfMeans(Likelihood):
    """Each batch counts as one target."""

    def update(self, model, batch):
        before, targets = self.nats.clone(), self.targets.clone()
        super().update(model, batch)
        self.nats = before + (self.nats - before) / (self.targets - targets)
        self.targets = targets + 1


class AveragesBatches(CausalLM):
    def evaluator(self, corpus: Any, split: SplitName):
        return MeansOfMeans(corpus.split(split).num_bytes)


class Unforgetting(Likelihood):
    def reset(self) -> None:
        nats = self.nats
        super().reset()
        self.nats = nats


class RemembersAfterAReset(CausalLM):
    def evaluator(self, corpus: Any, split: SplitName):
        return Unforgetting(corpus.split(split).num_bytes)


class LeavesOutTheLastBatch(CausalLM):
    def eval_batches(self, corpus: Any, split: SplitName, *, max_seq_len, batch):
        batches = list(super().eval_batches(corpus, split, max_seq_len=max_seq_len, batch=batch) or [])
        return batches[:-1]


class InAnyOrder:
    """A loader around another."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        self.loader.set_epoch(epoch, start)

    def __iter__(self):
        batches = list(self.loader)
        return iter(random.sample(batches, len(batches)))


class AlwaysEpoch0(InAnyOrder):
    def set_epoch(self, epoch: int, start: int = 0) -> None:
        self.loader.set_epoch(0, start)

    def __iter__(self):
        return iter(self.loader)


class NeverEntersLater(InAnyOrder):
    def set_epoch(self, epoch: int, start: int = 0) -> None:
        self.loader.set_epoch(epoch)

    def __iter__(self):
        return iter(self.loader)


class ShufflesByChance(CausalLM):
    loader: type[InAnyOrder] = InAnyOrder

    def train_batches(self, corpus: Any, **options: Any) -> Any:
        return self.loader(super().train_batches(corpus, **options))


class RepeatsItsEpoch(ShufflesByChance):
    loader = AlwaysEpoch0


class StartsOverWhenResumed(ShufflesByChance):
    loader = NeverEntersLater


class ForgetsAuxiliaryLosses(CausalLM):
    def loss(self, model, batch):
        loss = super().loss(model, batch)
        return Loss(loss.sum, loss.count)


class WeighsAuxiliaryLossesItself(CausalLM):
    def loss(self, model, batch):
        loss = super().loss(model, batch)
        return replace(loss, auxiliary={name: (value, 1.0) for name, (value, _) in loss.auxiliary.items()})


class MeansAuxiliaryLosses(Loss):
    """Adds them once, whatever the number of targets."""

    def total(self):
        return self.sum + sum(value * weight for value, weight in self.auxiliary.values())


class CountsAuxiliaryLossesOnce(CausalLM):
    def loss(self, model, batch):
        loss = super().loss(model, batch)
        return MeansAuxiliaryLosses(loss.sum, loss.count, loss.auxiliary, loss.stats)


class WithoutDirection(CausalLM):
    """A task whose measure does not say whether less of it is better."""

    measures = {"loss": Measure("down")}  # pyright: ignore[reportArgumentType]


FAULTS = [
    Fault("task_says_what_is_better", "task", WithoutDirection, says="down"),
    Fault("task_says_what_is_better", "task", SelectsByWhatItLacks, says="primary is 'accuracy'"),
    Fault("task_says_what_is_better", "task", DeclaresWhatItDoesNotGive, says="its measures are ['accuracy'"),
    Fault("a_loss_counts_targets", "task", CountsPlaces, says="places have a target, and the loss counts"),
    Fault("a_loss_counts_targets", "task", ScoresWhatIsIgnored, says="both halves"),
    Fault("a_batch_is_its_rows", "task", WeighsByTheBatch, says="the sum of the loss row by row"),
    Fault("padding_changes_nothing", "task", ForgetsTheMask, says="with padding"),
    Fault("padding_changes_nothing", "task", ForgetsTheSourcesMask, says="with padding"),
    Fault("metrics_do_not_depend_on_batches", "task", AveragesBatches, says="the metric loss row by row"),
    Fault("metrics_do_not_depend_on_batches", "task", RemembersAfterAReset, says="after something else and a reset"),
    Fault("every_target_is_evaluated_once", "task", LeavesOutTheLastBatch, says="targets, not"),
    Fault("order_is_a_function_of_seed_and_epoch", "task", ShufflesByChance, says="epoch 0 asked again"),
    Fault("order_is_a_function_of_seed_and_epoch", "task", RepeatsItsEpoch, says="epoch 1 after epoch 0"),
    Fault("order_is_a_function_of_seed_and_epoch", "task", StartsOverWhenResumed, says="entered behind two batches"),
    Fault("a_loss_has_the_models_auxiliary_losses", "task", ForgetsAuxiliaryLosses, says="lacks"),
    Fault("a_loss_has_the_models_auxiliary_losses", "task", WeighsAuxiliaryLossesItself, says="1 in the loss"),
    Fault("a_loss_has_the_models_auxiliary_losses", "task", CountsAuxiliaryLossesOnce, says="the total is"),
]
