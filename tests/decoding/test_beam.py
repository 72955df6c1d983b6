"""Beam search against one written out in plain Python, and against all sequences there are."""

import itertools

import pytest
import torch

from lightning_tx.decoding.generate import generate
from tests.decoding.models import (
    BOS,
    EOS,
    INPUTS,
    PAD,
    SPECIAL,
    TOPOLOGIES,
    continued,
    generator,
    next_log_probabilities,
    searched,
    strategy,
)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("num_beams", [1, 2, 5])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_it_is_the_search_written_out(topology: str, num_beams: int, penalty: float) -> None:
    model = generator(topology, "sinusoidal", "gqa", vocab_size=12, vocab_multiple=1)
    inputs = [[token % 9 + 3 for token in row] for row in INPUTS[:5]]
    decoding = strategy("beam", num_beams=num_beams, length_penalty=penalty)
    found = generate(model, inputs, decoding, **SPECIAL, max_new_tokens=6)
    for given, tokens, score, finished in zip(inputs, found.sequences, found.scores, found.finished, strict=True):
        expected, expected_score = searched(model, given, 6, num_beams, penalty)
        assert tokens + [EOS] * finished == expected
        assert score == pytest.approx(expected_score, abs=1e-9)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_with_room_for_every_sequence_it_finds_the_best_of_all(topology: str) -> None:
    model, given, limit = generator(topology, vocab_size=6, vocab_multiple=1), [3, 4], 4
    words = [token for token in range(6) if token not in (PAD, BOS, EOS)]
    every = [
        [*body, *end]
        for length in range(limit + 1)
        for body in itertools.product(words, repeat=length)
        for end in ([EOS], [])
        if len(body) + len(end) <= limit and (end or length == limit)
    ]

    def log_probability(tokens: list[int]) -> float:
        steps = range(len(tokens))
        return sum(next_log_probabilities(model, given, tokens[:step])[tokens[step]].item() for step in steps)

    best = max(every, key=log_probability)
    decoding = strategy("beam", num_beams=len(words) ** limit, length_penalty=0.0)
    found = generate(model, [given], decoding, **SPECIAL, max_new_tokens=limit)
    assert found.sequences[0] + [EOS] * found.finished[0] == best
    assert found.log_probabilities[0] == pytest.approx(log_probability(best), abs=1e-9)


def test_one_beam_is_greedy() -> None:
    model = generator("encoder_decoder")
    found = generate(model, INPUTS, strategy("beam", num_beams=1), **SPECIAL, max_new_tokens=9)
    for given, tokens, total in zip(INPUTS, found.sequences, found.log_probabilities, strict=True):
        expected = continued(model, given, 9, lambda log_probabilities, _: int(log_probabilities.argmax()))
        assert tokens == expected[0]
        assert total == pytest.approx(expected[1], abs=1e-9)


def test_the_sources_are_kept_where_beams_change_places() -> None:
    """Rows of one source share its memory, so that only what grows along time is moved."""
    model = generator("encoder_decoder")
    with torch.inference_mode():
        generation = model.begin([[3, 4], [5, 6, 7]], bos_id=BOS, pad_id=PAD)
        generation.select(torch.tensor([0, 0, 1, 1]))
        generation.step(torch.tensor([[7], [8], [9], [10]]))
        generation.reorder(torch.tensor([1, 1, 3, 2]))
        logits = generation.step(torch.tensor([[11], [12], [13], [14]]))
    for row, (given, new) in enumerate(
        [([3, 4], [8, 11]), ([3, 4], [8, 12]), ([5, 6, 7], [10, 13]), ([5, 6, 7], [9, 14])]
    ):
        expected = next_log_probabilities(model, given, new)
        torch.testing.assert_close(logits[row].log_softmax(dim=0), expected, rtol=0, atol=1e-10)
