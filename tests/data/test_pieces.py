import random

import pytest

from lightning_tx.data.pieces import pieces
from lightning_tx.tokenizer.bpe import Bpe
from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character
from tests.data.examples import AWKWARD_TEXTS


def random_text(seed: int) -> str:
    """A text of awkward texts and runs of white space."""
    generator = random.Random(seed)
    parts = [*AWKWARD_TEXTS, "\n\n", "   ", "\t \n", "it's", "don't 123 456,"]
    return "".join(generator.choice(parts) for _ in range(60))


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_pieces_make_up_the_text(size: int) -> None:
    text = random_text(0)
    parts = list(pieces(text, size))
    assert "".join(parts) == text
    assert all(parts)
    assert max(map(len, parts)) <= 2 * size + 1


def test_a_short_text_is_one_piece_and_an_empty_one_none() -> None:
    assert list(pieces("short text", 10)) == ["short text"]
    assert list(pieces("", 10)) == []


def test_a_run_without_white_space_is_cut_through() -> None:
    assert list(map(len, pieces("x" * 25, 10))) == [20, 5]


@pytest.mark.parametrize("trainer", [Byte(), Character(), Bpe(vocab_size=400)])
def test_the_tokens_of_the_pieces_are_those_of_the_text(trainer: Byte | Character | Bpe) -> None:
    for seed in range(20):
        text = random_text(seed)
        tokenizer = trainer.train([text])
        parts = list(pieces(text, 60))
        assert len(parts) > 3
        assert [token for part in parts for token in tokenizer.encode(part)] == tokenizer.encode(text)
