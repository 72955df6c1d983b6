"""Small generators in float64, inputs for them, and decoding without a cache to compare with."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_tx.components.positions.base import POSITIONS
from lightning_tx.decoding.base import DECODING, Decoding
from tests.model.configs import small_model

PAD, BOS, EOS = 0, 1, 2
SPECIAL: dict[str, Any] = {"pad_id": PAD, "bos_id": BOS, "eos_id": EOS}
#: As the labels mha, gqa and mqa set it.
ATTENTIONS: dict[str, Any] = {"mha": {}, "gqa": {"num_kv_heads": 2}, "mqa": {"num_kv_heads": 1}}
TOPOLOGIES = ("decoder", "encoder_decoder")
PARTS = [
    (topology, positions, attention)
    for topology, positions, attention in itertools.product(TOPOLOGIES, POSITIONS.names(), ATTENTIONS)
]
INPUTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [4, 4, 4], [14, 3], [30, 31, 32, 33, 34], [40], [21, 22, 23]]


def generator(topology: str, positions: str = "rope", attention: str = "mha", **sizes: Any) -> Any:
    return small_model(topology, sizes=sizes, positions=positions, attention=ATTENTIONS[attention])


def strategy(name: str, **options: Any) -> Decoding:
    return DECODING.create({"name": name, **options})


@torch.no_grad()
def next_log_probabilities(model: Any, given: list[int], new: list[int]) -> Tensor:
    """Of the token after ``new``, [V], by a pass over everything from the start, one row, no cache."""
    if model.num_inputs == 2:
        x = model(torch.tensor([given]), torch.tensor([[BOS, *new]])).x
    else:
        x = model(torch.tensor([given + new])).x
    logits = model.head.logits(x)[0, -1]
    logits[model.head.vocab_size :] = float("-inf")
    logits[[PAD, BOS]] = float("-inf")
    return logits.log_softmax(dim=0)


def continued(
    model: Any, given: list[int], limit: int, choose: Callable[[Tensor, int], int]
) -> tuple[list[int], float, bool]:
    """Tokens, log-probability and whether it ended by itself, of one input token by token."""
    new: list[int] = []
    total = 0.0
    for step in range(limit):
        log_probabilities = next_log_probabilities(model, given, new)
        token = choose(log_probabilities, step)
        total += log_probabilities[token].item()
        if token == EOS:
            return new, total, True
        new.append(token)
    return new, total, False


def searched(model: Any, given: list[int], limit: int, num_beams: int, penalty: float) -> tuple[list[int], float]:
    """Best sequence, ``<eos>`` included, and its score; beams are lists of (log-probability, tokens)."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, limit + 1):
        extended = []
        for total, tokens in beams:
            log_probabilities = next_log_probabilities(model, given, tokens).tolist()
            extended += [(total + each, [*tokens, token]) for token, each in enumerate(log_probabilities)]
        extended = sorted((each for each in extended if each[0] > float("-inf")), reverse=True)
        ended = [each for each in extended[:num_beams] if each[1][-1] == EOS or length == limit]
        finished += [(total / length**penalty, tokens) for total, tokens in ended]
        finished = sorted(finished, reverse=True)[:num_beams]
        beams = [each for each in extended if each[1][-1] != EOS][:num_beams]
        if not beams or (len(finished) == num_beams and beams[0][0] / length**penalty <= finished[-1][0]):
            break
    score, tokens = finished[0]
    return tokens, score
