from typing import Any

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from lightning_tx.decoding.base import DECODING
from lightning_tx.decoding.generate import generate
from lightning_tx.decoding.sample import Sample
from tests.decoding.models import INPUTS, SPECIAL, continued, generator, strategy


def warped(logits: torch.Tensor, temperature: float, top_k: int | None, top_p: float | None) -> torch.Tensor:
    """Probabilities as transformers makes them."""
    warpers: list[Any] = [TemperatureLogitsWarper(temperature)]
    warpers += [] if top_k is None else [TopKLogitsWarper(top_k)]
    warpers += [] if top_p is None else [TopPLogitsWarper(top_p)]
    for warper in warpers:
        logits = warper(None, logits)
    return logits.softmax(dim=-1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [None, 1, 7, 1000])
@pytest.mark.parametrize("top_p", [None, 0.01, 0.6, 1.0])
def test_it_draws_from_the_distribution_of_transformers(
    temperature: float, top_k: int | None, top_p: float | None
) -> None:
    vocabulary, draws = 70, 4000
    logits = 3 * torch.randn(2, vocabulary, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits[:, :3] = float("-inf")
    decoding = Sample(temperature=temperature, top_k=top_k, top_p=top_p)
    # Evenly spaced numbers make a frequency exact up to one draw at either end.
    noise = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    for row in logits:
        chosen = decoding.choose(row.expand(draws, -1), noise)
        frequency = chosen.bincount(minlength=vocabulary) / draws
        expected = warped(row[None].clone(), temperature, top_k, top_p)[0]
        torch.testing.assert_close(frequency.double(), expected, rtol=0, atol=1.01 / draws)


def test_cached_is_uncached_token_for_token() -> None:
    model, decoding = generator("decoder", "learned"), Sample(temperature=0.7, top_k=9)
    found = generate(model, INPUTS[:1], decoding, **SPECIAL, max_new_tokens=8, seed=5)
    again = generate(model, [[5, 6, 7], *INPUTS], decoding, **SPECIAL, max_new_tokens=8, seed=5)
    assert found.sequences[0] == again.sequences[0]
    drawn = iter(again.sequences[0])
    tokens, total, _ = continued(model, INPUTS[0], len(again.sequences[0]), lambda *_: next(drawn))
    assert tokens == again.sequences[0]
    if not again.finished[0]:
        assert again.scores[0] == pytest.approx(total, abs=1e-9)


def test_a_seed_gives_the_same_and_another_seed_something_else() -> None:
    model, decoding = generator("encoder_decoder"), strategy("sample")
    first, second, other = (
        generate(model, INPUTS, decoding, **SPECIAL, max_new_tokens=8, seed=seed).sequences for seed in (0, 0, 1)
    )
    assert first == second != other


def test_equal_inputs_get_draws_of_their_own() -> None:
    found = generate(
        generator("decoder"), [[5, 6]] * 8, strategy("sample", temperature=2.0), **SPECIAL, max_new_tokens=8
    )
    assert len(set(map(tuple, found.sequences))) == 8


@pytest.mark.parametrize(
    ("option", "value"), [("temperature", 0.0), ("top_k", 0), ("top_p", 0.0), ("top_p", 1.1), ("num_beams", 3)]
)
def test_options_out_of_range_are_refused(option: str, value: float) -> None:
    problems = DECODING.problems({"name": "sample", option: value})
    assert len(problems) == 1 and problems[0].startswith(f"decoding.{option}: ")
