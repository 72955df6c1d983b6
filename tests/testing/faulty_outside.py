"""What stands outside of models, with one fault each."""

import random
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer as Backend
from tokenizers import normalizers
from torch import Tensor, nn

from lightning_tx.data.base import Data, Splits
from lightning_tx.decoding.base import TokenByToken
from lightning_tx.decoding.sample import Sample
from lightning_tx.schedule.base import Schedule
from lightning_tx.task.base import Loss
from lightning_tx.task.causal_lm import CausalLM
from lightning_tx.tokenizer.character import Character
from tests.testing.planted import Fault


class CountsItsCalls(Schedule):
    calls = 0

    def __call__(self, step: int) -> float:
        self.calls += 1
        return self.lr / self.calls


class RisesAboveTheHighest(Schedule):
    def __call__(self, step: int) -> float:
        return self.lr * (1 + step / self.max_steps)


class DividesByItsWarmUp(Schedule):
    def __init__(self, lr: float | None, max_steps: int, d_model: int, *, warmup_steps: int = 10) -> None:
        super().__init__(lr, max_steps, d_model)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        return self.lr * min(1, step / self.warmup_steps)


class Climbs(torch.optim.SGD):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), lr=1.0, maximize=True)


class HasARateOfItsOwn(torch.optim.SGD):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), lr=1.0)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(0.01 * parameter.grad)


class JoinsSpaces(Character):
    def build(self, texts: Iterable[str]) -> Backend:
        backend = super().build(texts)
        backend.normalizer = normalizers.Replace("  ", " ")
        return backend


class OrdersByChance(Character):
    def vocabulary(self, tokens: Iterable[str]) -> dict[str, int]:
        tokens = list(tokens)
        random.shuffle(tokens)
        return super().vocabulary(tokens)


class ReadsSpecialTokens(Character):
    def train(self, texts):
        tokenizer = super().train(texts)
        tokenizer._backend.encode_special_tokens = False
        return tokenizer


class Numbers(Data[str]):
    def load(self, cache: Path) -> Splits[str]:
        return self.split([str(number) for number in range(100)])

    def split(self, texts: list[str]) -> Splits[str]:
        return Splits(texts[20:], texts[:10], texts[10:20])


class SplitsByChance(Numbers):
    def split(self, texts):
        return super().split(random.sample(texts, len(texts)))


class TestsOnItsTraining(Numbers):
    def split(self, texts):
        return Splits(texts, texts[:10], [])


class Unsendable(list):
    def __reduce__(self):
        raise TypeError("cannot be pickled")


class HoldsWhatCannotBeSent(Numbers):
    def split(self, texts):
        return Splits(texts[20:], Unsendable(texts[:10]), [])


class CountsPlaces(CausalLM):
    def loss(self, model, batch):
        found = super().loss(model, batch)
        return Loss(found.sum, torch.tensor(batch.targets_BT.numel()), found.auxiliary, found.stats)


class ForgetsAuxiliaryLosses(CausalLM):
    def loss(self, model, batch):
        found = super().loss(model, batch)
        return Loss(found.sum, found.count)


class DrawsFromTheGlobalGenerator(Sample):
    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        return torch.multinomial(logits_BV.softmax(dim=-1), 1)[:, 0]


class LooksAtTheBatch(TokenByToken):
    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        return logits_BV.mean(dim=0).argmax().expand(len(logits_BV))


class GoesOn(TokenByToken):
    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        return logits_BV.argmax(dim=-1)

    def generate(self, generation, *, max_new_tokens, eos_id, seeds):
        longer = [limit + 1 for limit in max_new_tokens]
        return super().generate(generation, max_new_tokens=longer, eos_id=eos_id, seeds=seeds)


FAULTS = [
    Fault("rate_is_a_function_of_the_step", "schedule", CountsItsCalls, says="asked again"),
    Fault("rate_is_never_above_the_highest", "schedule", RisesAboveTheHighest),
    Fault("learning_rates_are_finite", "schedule", DividesByItsWarmUp, says="ZeroDivisionError"),
    Fault("optimizer_descends", "optimizer", Climbs),
    Fault("optimizer_obeys_the_rate", "optimizer", HasARateOfItsOwn, says="0.0"),
    Fault("texts_come_back", "tokenizer", JoinsSpaces),
    Fault("training_a_tokenizer_is_repeatable", "tokenizer", OrdersByChance),
    Fault("special_tokens_are_not_text", "tokenizer", ReadsSpecialTokens),
    Fault("splits_stay", "data", SplitsByChance, says="train"),
    Fault("splits_do_not_overlap", "data", TestsOnItsTraining, says="10 documents of the split validation"),
    Fault("splits_can_be_sent", "data", HoldsWhatCannotBeSent, says="cannot be pickled"),
    Fault("a_loss_counts_targets", "task", CountsPlaces, says="places have a target"),
    Fault("a_loss_has_the_models_auxiliary_losses", "task", ForgetsAuxiliaryLosses),
    Fault("decoding_leaves_generators_alone", "decoding", DrawsFromTheGlobalGenerator),
    Fault("rows_decode_by_themselves", "decoding", LooksAtTheBatch, says="row"),
    Fault("decoding_keeps_its_limits", "decoding", GoesOn, says="with a limit of 1"),
]
