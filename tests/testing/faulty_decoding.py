"""Ways to decode with one fault each."""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from lightning_tx.decoding.base import TokenByToken
from lightning_tx.decoding.sample import Sample
from tests.testing.planted import Fault


class Best(TokenByToken):
    """Sound: the best token."""

    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        return logits_BV.argmax(dim=-1)


class DrawsFromTheGlobalGenerator(Sample):
    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        return torch.multinomial(logits_BV.softmax(dim=-1), 1)[:, 0]


class PassesGlobalStateOn(Sample):
    def noise(self, seeds, steps, device):
        torch.manual_seed(seeds[0])
        return super().noise(seeds, steps, device)


class DrawsForTheBatch(Sample):
    def noise(self, seeds, steps, device):
        generator = torch.Generator().manual_seed(seeds[0])
        return torch.rand(len(seeds), steps, generator=generator, dtype=torch.float64)


class LooksAtTheBatch(Best):
    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        return logits_BV.mean(dim=0).argmax().expand(len(logits_BV))


class LooksAtTheBatchIfTold(Best):
    def __init__(self, *, share: Annotated[float, Field(ge=0, le=1)] = 0.0) -> None:
        self.share = share

    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        return (logits_BV - self.share * logits_BV.mean(dim=0)).argmax(dim=-1)


class GoesOn(Best):
    def generate(self, generation, *, max_new_tokens, eos_id, seeds):
        longer = [limit + 1 for limit in max_new_tokens]
        return super().generate(generation, max_new_tokens=longer, eos_id=eos_id, seeds=seeds)


class TakesTheLongestLimit(Best):
    def generate(self, generation, *, max_new_tokens, eos_id, seeds):
        limits = [max(max_new_tokens)] * len(max_new_tokens)
        return super().generate(generation, max_new_tokens=limits, eos_id=eos_id, seeds=seeds)


class KeepsEos(Best):
    def generate(self, generation, *, max_new_tokens, eos_id, seeds):
        decoded = super().generate(generation, max_new_tokens=max_new_tokens, eos_id=eos_id, seeds=seeds)
        return [replace(each, tokens=[*each.tokens, eos_id] if each.finished else each.tokens) for each in decoded]


class CutsAtEosInTheEnd(Best):
    def generate(self, generation, *, max_new_tokens, eos_id, seeds):
        decoded = super().generate(generation, max_new_tokens=max_new_tokens, eos_id=-1, seeds=seeds)
        cut = [each.tokens.index(eos_id) if eos_id in each.tokens else None for each in decoded]
        return [
            replace(each, tokens=each.tokens[:end], finished=end is not None)
            for each, end in zip(decoded, cut, strict=True)
        ]


class TellsAMean(Best):
    def generate(self, generation, *, max_new_tokens, eos_id, seeds):
        decoded = super().generate(generation, max_new_tokens=max_new_tokens, eos_id=eos_id, seeds=seeds)
        return [replace(each, log_probability=each.log_probability / (len(each.tokens) + 1)) for each in decoded]


FAULTS = [
    Fault("decoding_leaves_generators_alone", "decoding", DrawsFromTheGlobalGenerator, says="generator of PyTorch"),
    Fault("decoding_leaves_generators_alone", "decoding", PassesGlobalStateOn, says="generator of PyTorch"),
    Fault("rows_decode_by_themselves", "decoding", DrawsFromTheGlobalGenerator, says="among"),
    Fault("rows_decode_by_themselves", "decoding", DrawsForTheBatch, says="among"),
    Fault("rows_decode_by_themselves", "decoding", LooksAtTheBatch, says="among"),
    Fault("rows_decode_by_themselves", "decoding", LooksAtTheBatchIfTold, says="'share'"),
    Fault("decoding_keeps_its_limits", "decoding", GoesOn, says="a limit of 1"),
    Fault("decoding_keeps_its_limits", "decoding", TakesTheLongestLimit, says="a limit of 1"),
    Fault("decoding_keeps_its_limits", "decoding", KeepsEos, says="a row becomes"),
    Fault("decoding_stops_at_eos", "decoding", CutsAtEosInTheEnd, says="the longest row has 4"),
    Fault("log_probabilities_are_the_models", "decoding", TellsAMean, says="the model's is"),
]
HONEST = [("decoding", Best)]
