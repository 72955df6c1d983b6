import math
import random
from typing import Any

import pytest
import torch

from lightning_tx.core.errors import ConfigError, DivergedError
from lightning_tx.decoding.base import DECODING
from lightning_tx.decoding.generate import generate
from tests.decoding.models import EOS, INPUTS, PARTS, SPECIAL, TOPOLOGIES, continued, generator, strategy
from tests.model.configs import small_model

STRATEGIES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sample": {"top_k": 20, "top_p": 0.9, "temperature": 0.8},
    "beam": {"num_beams": 3},
}


@pytest.mark.parametrize(("topology", "positions", "attention"), PARTS)
def test_cached_is_uncached_token_for_token(topology: str, positions: str, attention: str) -> None:
    model = generator(topology, positions, attention)
    found = generate(model, INPUTS, strategy("greedy"), **SPECIAL, max_new_tokens=8)
    for given, tokens, score, finished in zip(INPUTS, found.sequences, found.scores, found.finished, strict=True):
        expected = continued(model, given, 8, lambda log_probabilities, _: int(log_probabilities.argmax()))
        assert (tokens, finished) == (expected[0], expected[2])
        assert score == pytest.approx(expected[1], abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("topology", "positions", "attention"), PARTS)
def test_cached_is_uncached_on_a_thousand_sentences(topology: str, positions: str, attention: str) -> None:
    model = generator(topology, positions, attention)
    draw = random.Random(0)
    sentences = [[draw.randrange(3, 50) for _ in range(draw.randrange(1, 9))] for _ in range(1000)]
    found = generate(model, sentences, strategy("greedy"), **SPECIAL, max_new_tokens=8)
    for given, tokens in zip(sentences, found.sequences, strict=True):
        assert tokens == continued(model, given, 8, lambda scores, _: int(scores.argmax()))[0]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(("topology", "positions", "attention"), PARTS)
def test_a_row_does_not_depend_on_the_others(topology: str, positions: str, attention: str, name: str) -> None:
    model = generator(topology, positions, attention)
    decoding = strategy(name, **STRATEGIES[name])
    limits = [12, 3, 9, 10, 1, 11, 6, 12]
    together = generate(model, INPUTS, decoding, **SPECIAL, max_new_tokens=limits)
    alone = generate(model, INPUTS, decoding, **SPECIAL, max_new_tokens=limits, batch_size=1)
    assert together.sequences == alone.sequences
    assert together.finished == alone.finished
    assert together.scores == pytest.approx(alone.scores, abs=1e-9)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_rows_end_by_themselves_and_at_their_limit(topology: str) -> None:
    """What the other tests rely on: that rows finish and leave at different steps."""
    found = generate(generator(topology), INPUTS * 4, strategy("sample", temperature=2.0), **SPECIAL, max_new_tokens=40)
    assert len({len(tokens) for tokens in found.sequences}) > 5
    assert {True, False} >= set(found.finished) and any(found.finished)
    assert all(EOS not in tokens for tokens in found.sequences)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_what_stands_for_nothing_is_never_produced(topology: str, name: str) -> None:
    model = generator(topology, vocab_size=5, vocab_multiple=64)
    found = generate(model, [[3], [4, 3]] * 4, strategy(name, **STRATEGIES[name]), **SPECIAL, max_new_tokens=20)
    assert {token for tokens in found.sequences for token in tokens} <= {3, 4}


@pytest.mark.parametrize("name", STRATEGIES)
def test_positions_that_end_cut_the_sequence(name: str) -> None:
    decoding = strategy(name, **STRATEGIES[name])
    model = generator("decoder", "learned")
    with torch.no_grad():
        model.lm_head.weight[EOS] = 0  # tied: never the best, hardly ever drawn
    prompts = [list(range(3, 19)), [5, 6, 7], [3] * 15]
    found = generate(model, prompts, decoding, **SPECIAL, max_new_tokens=100)
    for tokens, finished, room in zip(found.sequences, found.finished, (1, 14, 2), strict=True):
        assert finished or len(tokens) == room
    with pytest.raises(ConfigError, match=r"prompt\[1\]: it has 17 tokens.*16"):
        generate(model, [[3], [3] * 17], decoding, **SPECIAL, max_new_tokens=1)


def test_positions_that_go_on_go_on() -> None:
    for positions in ("none", "rope", "sinusoidal"):
        model = generator("decoder", positions)
        found = generate(model, [[3] * 20], strategy("greedy"), **SPECIAL, max_new_tokens=30)
        assert found.finished[0] or len(found.sequences[0]) == 30


def test_a_source_longer_than_the_positions_is_refused() -> None:
    model = generator("encoder_decoder", "learned")
    with pytest.raises(ConfigError, match=r"source\[0\]: it has 17 tokens"):
        generate(model, [[3] * 17], strategy("greedy"), **SPECIAL, max_new_tokens=1)


def test_an_encoder_does_not_generate() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.name: \'encoder\' does not generate text\. Choices: decoder, encoder_decoder\."
    ):
        generate(small_model("encoder"), [[3]], strategy("greedy"), **SPECIAL, max_new_tokens=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: 0 is below 1"),
        ({"max_new_tokens": [1, 2]}, "max_new_tokens: 2 limits for 1 inputs"),
        ({"max_new_tokens": 1, "eos_id": 0}, "eos_id: 0 is <bos> or <pad>"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(generator("decoder"), [[3]], strategy("greedy"), **SPECIAL | options)


def test_nothing_to_do() -> None:
    found = generate(generator("decoder"), [], strategy("greedy"), **SPECIAL, max_new_tokens=3)
    assert found.sequences == [] and found.tokens_per_second == 0


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_an_input_may_be_empty(topology: str) -> None:
    model = generator(topology)
    inputs = [[], [5, 6, 7]]
    together = generate(model, inputs, strategy("greedy"), **SPECIAL, max_new_tokens=5)
    alone = generate(model, inputs, strategy("greedy"), **SPECIAL, max_new_tokens=5, batch_size=1)
    assert together.sequences == alone.sequences


def test_it_counts_and_times() -> None:
    model = generator("decoder", "rope", "gqa")
    found = generate(model, [[3, 4], [5, 6]], strategy("greedy"), **SPECIAL, max_new_tokens=2, batch_size=1)
    # Keys and values of 3 tokens, 2 layers, 2 heads of width 4, in 8 bytes each.
    assert found.cache_bytes == 2 * 3 * 2 * 2 * 4 * 8
    assert found.seconds_to_first_token > 0 and found.seconds_per_token > 0 and found.tokens_per_second > 0


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = small_model("decoder", sizes={"dropout": 0.5}).float().train(training)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (
        generate(model, INPUTS, strategy("greedy"), **SPECIAL, max_new_tokens=8).sequences for _ in range(2)
    )
    assert first == second  # no dropout
    assert model.training is training
    assert all("forward" not in vars(module) for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    model.head.logits(model(torch.tensor([[3, 4]])).x).sum().backward()


@pytest.mark.parametrize("name", ["greedy", "beam", "sample"])
@pytest.mark.parametrize("options", [{}, {"top_k": 5}, {"top_p": 0.5}])
def test_scores_that_are_no_numbers_are_said(name: str, options: dict[str, Any]) -> None:
    if options and name != "sample":
        return
    model = generator("decoder")
    with torch.no_grad():
        model.token_embedding.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="no numbers"):
        generate(model, INPUTS, strategy(name, **options), **SPECIAL, max_new_tokens=8)


@pytest.mark.parametrize(
    ("name", "option", "ends"),
    [("sample", "temperature", (0.001, 1000.0)), ("beam", "length_penalty", (-10.0, 10.0))],
)
def test_factors_have_ranges_whose_ends_work(name: str, option: str, ends: tuple[float, float]) -> None:
    for end in ends:
        found = generate(generator("decoder"), INPUTS, strategy(name, **{option: end}), **SPECIAL, max_new_tokens=8)
        assert all(map(math.isfinite, found.scores))
        beyond = 2 * end if abs(end) >= 1 else end / 2
        (problem,) = DECODING.problems({"name": name, option: beyond})
        assert problem.startswith(f"decoding.{option}: {beyond} should be")
