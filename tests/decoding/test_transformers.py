"""Against transformers' ``generate`` with the same weights."""

from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lightning_tx.decoding.generate import generate
from lightning_tx.model.build import build_model
from lightning_tx.model.interop import gpt2
from lightning_tx.testing.values import randomise
from tests.decoding.models import BOS, PAD, strategy

PROMPTS = [[3, 9, 4], [17], [33, 60, 4, 5, 6], [12, 13, 14], [50, 51], [7, 7, 7, 7], [20, 40, 3]]
NEW = 14
EOS = 28  # which these weights like to produce
SPECIAL: dict[str, Any] = {"pad_id": PAD, "bos_id": BOS, "eos_id": EOS}


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    theirs: Any = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=64,
            n_positions=32,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_inner=48,
            activation_function="gelu",
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
    )
    randomise(theirs, std=0.2)
    ours = build_model(gpt2.config(theirs.config.to_dict()))
    ours.load_state_dict(gpt2.weights(theirs.state_dict()))
    return ours.double().eval(), theirs.double().eval()


def their_tokens(model: Any, prompt: list[int], **options: Any) -> list[int]:
    tokens = torch.tensor([prompt])
    with torch.no_grad():
        found = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=NEW,
            do_sample=False,
            suppress_tokens=[PAD, BOS],
            renormalize_logits=True,  # probabilities of what can be produced, as here
            **options,
        )
    return found[0, len(prompt) :].tolist()


def test_greedy(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    found = generate(ours, PROMPTS, strategy("greedy"), **SPECIAL, max_new_tokens=NEW)
    for prompt, tokens, finished in zip(PROMPTS, found.sequences, found.finished, strict=True):
        assert tokens + [EOS] * finished == their_tokens(theirs, prompt)
    assert len({len(tokens) for tokens in found.sequences}) > 2


@pytest.mark.parametrize(("num_beams", "length_penalty"), [(2, 1.0), (4, 0.0), (5, 2.0), (3, -1.0)])
def test_beam(pair: tuple[Any, Any], num_beams: int, length_penalty: float) -> None:
    ours, theirs = pair
    options: dict[str, Any] = {"num_beams": num_beams, "length_penalty": length_penalty}
    found = generate(ours, PROMPTS, strategy("beam", **options), **SPECIAL, max_new_tokens=NEW)
    assert any(found.finished)
    for prompt, tokens, finished in zip(PROMPTS, found.sequences, found.finished, strict=True):
        assert tokens + [EOS] * finished == their_tokens(theirs, prompt, early_stopping=False, **options)
