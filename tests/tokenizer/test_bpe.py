import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor

import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.tokenizer.base import TOKENIZER
from lightning_tx.tokenizer.bpe import Bpe

TEXTS = ["low lower lowest, new newer newest; wide wider widest 1 12 123\n" * 20, "the theatre there then\n" * 20]


def test_the_vocabulary_has_the_size_that_was_asked_for() -> None:
    assert Bpe(vocab_size=280).train(TEXTS).vocab_size == 280
    assert Bpe(vocab_size=260).train(TEXTS).vocab_size == 260


def test_short_text_gives_a_smaller_vocabulary() -> None:
    assert 260 < Bpe(vocab_size=2000).train(TEXTS).vocab_size < 2000
    assert Bpe(vocab_size=2000).train([]).vocab_size == 260


def test_frequent_words_are_one_token_and_merges_need_their_frequency() -> None:
    assert len(Bpe(vocab_size=400).train(TEXTS).encode("the")) == 1
    assert Bpe(vocab_size=400, min_frequency=1000).train(TEXTS).vocab_size == 260


def test_any_text_comes_back_exactly() -> None:
    tokenizer = Bpe(vocab_size=300).train(TEXTS)
    generator = random.Random(0)
    planes = [*range(0xD800), *range(0xE000, 0x11000), *range(0x1F300, 0x1F700), *[9, 10, 13, 32] * 3000]
    for _ in range(50):
        text = "".join(chr(generator.choice(planes)) for _ in range(100))
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_training_again_and_elsewhere_gives_the_same() -> None:
    trainer = Bpe(vocab_size=400)
    here = trainer.train(TEXTS)
    assert trainer.train(iter(TEXTS)).digest == here.digest
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(trainer.train, TEXTS).result(30).digest == here.digest


@pytest.mark.parametrize("vocab_size", [259, 0, -1, "2048", 2048.0])
def test_a_vocabulary_without_room_for_the_bytes_is_refused(vocab_size: object) -> None:
    with pytest.raises(ConfigError, match=r"^tokenizer.vocab_size: "):
        TOKENIZER.create({"name": "bpe", "vocab_size": vocab_size})
