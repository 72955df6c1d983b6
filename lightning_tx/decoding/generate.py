"""Sequences for many inputs: batched by length, decoded, put back into order, and timed."""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_tx.core.errors import ConfigError, DivergedError
from lightning_tx.decoding.base import Decoded, Decoding
from lightning_tx.model.body import Body
from lightning_tx.model.generation import Generation, Generator, generator_of
from lightning_tx.model.packed import packed_linears


@dataclass(frozen=True)
class Generated:
    """Results in the order of the inputs, and what they took.

    Attributes:
        sequences: new token ids of each input, without ``<eos>``.
        scores: what the strategy ranks by: the log-probability, for beams normalised by length.
        log_probabilities: sums over the new tokens, ``<eos>`` included.
        finished: whether a sequence ended by ``<eos>``; otherwise it was cut at its limit.
        seconds_to_first_token: from a batch's inputs to its first tokens, mean over the batches.
        seconds_per_token: of one step for a whole batch after the first, mean over all steps; 0 without any.
        tokens_per_second: ``num_tokens`` by the time of everything.
        cache_bytes: most that the cache held.
        num_tokens: new tokens of all sequences, ``<eos>`` included.
    """

    sequences: list[list[int]]
    scores: list[float]
    log_probabilities: list[float]
    finished: list[bool]
    seconds_to_first_token: float
    seconds_per_token: float
    tokens_per_second: float
    cache_bytes: int
    num_tokens: int


@torch.inference_mode()
def generate(
    model: Body,
    inputs: Sequence[Sequence[int]],
    decoding: Decoding,
    *,
    bos_id: int,
    eos_id: int,
    pad_id: int,
    max_new_tokens: int | Sequence[int],
    batch_size: int = 64,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
) -> Generated:
    """Continue prompts, or translate sources; what comes of an input does not depend on the others.

    The model runs in evaluation mode and in the precision of its weights.

    Args:
        model: one whose body is a :class:`Generator`, with the head of a language model.
        inputs: token ids: prompts or sources.
        decoding: the strategy.
        bos_id: starts the target of an encoder-decoder and an empty prompt; never produced.
        eos_id: ends a sequence.
        pad_id: fills up shorter inputs; never produced.
        max_new_tokens: limit of the new tokens, ``<eos>`` included; one for all or one each. Where positions end
            earlier, so does the sequence.
        batch_size: inputs decoded side by side.
        seed: of the random numbers; each input has its own.
        numbers: what tells the inputs' random numbers apart; None for their places among the inputs.

    Raises:
        ConfigError: the model does not generate, an input is longer than its positions reach, or a limit is below 1.
        DivergedError: the model's scores are no numbers.
    """
    generator = generator_of(model)
    limits = _limits(generator, inputs, max_new_tokens)
    if eos_id in (bos_id, pad_id):
        raise ConfigError(f"eos_id: {eos_id} is <bos> or <pad> as well, which are never produced: nothing would end.")
    longest_first = sorted(range(len(inputs)), key=lambda index: -len(inputs[index]))
    results: dict[int, Decoded] = {}
    timing = _Timing()
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(model.device.type, enabled=False), packed_linears(model, min(batch_size, len(inputs))):
            for start in range(0, len(inputs), batch_size):
                batch = longest_first[start : start + batch_size]
                timing.begin()
                generation = generator.begin([inputs[index] for index in batch], bos_id=bos_id, pad_id=pad_id)
                watched = _Watched(generation, timing)
                decoded = decoding.generate(
                    watched,
                    max_new_tokens=[limits[index] for index in batch],
                    eos_id=eos_id,
                    seeds=[_seed(seed, index if numbers is None else numbers[index]) for index in batch],
                )
                timing.end()
                watched.note_bytes()
                results |= dict(zip(batch, decoded, strict=True))
    finally:
        model.train(was_training)
    ordered = [results[index] for index in range(len(inputs))]
    if any(math.isnan(each.log_probability) for each in ordered):
        raise DivergedError(
            "The model's scores are no numbers, so that nothing can be generated: its weights diverged."
        )
    num_tokens = sum(len(each.tokens) + each.finished for each in ordered)
    return Generated(
        sequences=[each.tokens for each in ordered],
        scores=[each.score for each in ordered],
        log_probabilities=[each.log_probability for each in ordered],
        finished=[each.finished for each in ordered],
        seconds_to_first_token=_ratio(timing.first_seconds, timing.batches),
        seconds_per_token=_ratio(timing.later_seconds, timing.later_steps),
        tokens_per_second=_ratio(num_tokens, timing.first_seconds + timing.later_seconds),
        cache_bytes=timing.cache_bytes,
        num_tokens=num_tokens,
    )


class _Timing:
    """Sums over the batches; a batch's first tokens are there when its first step is asked for."""

    def __init__(self) -> None:
        self.batches = self.later_steps = self.cache_bytes = 0
        self.first_seconds = self.later_seconds = 0.0

    def begin(self) -> None:
        self._start = time.perf_counter()
        self._first: float | None = None

    def step(self) -> None:
        self.later_steps += 1
        if self._first is None:
            self._first = time.perf_counter()

    def end(self) -> None:
        now = time.perf_counter()
        first = now if self._first is None else self._first
        self.batches += 1
        self.first_seconds += first - self._start
        self.later_seconds += now - first


class _Watched:
    """A generation whose steps and cache are counted."""

    def __init__(self, generation: Generation, timing: _Timing) -> None:
        self.logits_BV = generation.logits_BV
        self._generation = generation
        self._timing = timing

    def step(self, tokens_BT: Tensor) -> Tensor:
        self._timing.step()
        return self._generation.step(tokens_BT)

    def select(self, rows: Tensor) -> None:
        self.note_bytes()
        self._generation.select(rows)
        self.note_bytes()

    def reorder(self, rows: Tensor) -> None:
        self._generation.reorder(rows)

    def note_bytes(self) -> None:
        """To be called wherever the cache is at its largest: around each change of rows, and at the end."""
        self._timing.cache_bytes = max(self._timing.cache_bytes, self._generation.cache_bytes)


def _limits(generator: Generator, inputs: Sequence[Sequence[int]], max_new_tokens: int | Sequence[int]) -> list[int]:
    wanted = [max_new_tokens] * len(inputs) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    if len(wanted) != len(inputs):
        raise ConfigError(f"max_new_tokens: {len(wanted)} limits for {len(inputs)} inputs.")
    if min(wanted, default=1) < 1:
        raise ConfigError(f"max_new_tokens: {min(wanted)} is below 1.")
    room = generator.room(inputs)
    return wanted if room is None else list(map(min, wanted, room))


def _seed(seed: int, index: int) -> int:
    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _ratio(total: float, count: float) -> float:
    return total / count if count else 0.0
