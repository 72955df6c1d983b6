import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from lightning_tx.tokenizer.base import TOKENIZER
from lightning_tx.tokenizer.bpe import Bpe
from lightning_tx.tokenizer.cached import train_cached

TEXTS = ["some training text, some more training text\n" * 10, "the end"]
CONFIG = {"name": "bpe", "vocab_size": 300}


def cached(cache: Path) -> list[Path]:
    return sorted((cache / "tokenizers").glob("*.json"))


def test_it_is_what_training_gives(tmp_path: Path) -> None:
    assert train_cached(TOKENIZER.parse(CONFIG), TEXTS, tmp_path).digest == Bpe(vocab_size=300).train(TEXTS).digest


def test_the_second_time_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train_cached(TOKENIZER.parse(CONFIG), TEXTS, tmp_path)
    monkeypatch.setattr(Bpe, "build", lambda self, texts: pytest.fail("trained again"))
    # The default, spelled out, is the same tokenizer.
    assert train_cached(TOKENIZER.parse(CONFIG | {"min_frequency": 2}), tuple(TEXTS), tmp_path).digest == first.digest


def test_texts_and_options_have_files_of_their_own(tmp_path: Path) -> None:
    for config, texts in (
        (CONFIG, TEXTS),
        (CONFIG | {"min_frequency": 3}, TEXTS),
        (CONFIG, TEXTS[:1]),
        ({"name": "character"}, TEXTS),
    ):
        train_cached(TOKENIZER.parse(config), texts, tmp_path)
    assert len(cached(tmp_path)) == 4


def test_two_processes_at_once_give_one_tokenizer(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(train_cached, TOKENIZER.parse(CONFIG), TEXTS, tmp_path) for _ in range(2)]
        digests = {future.result(60).digest for future in futures}
    assert digests == {Bpe(vocab_size=300).train(TEXTS).digest}
    assert len(cached(tmp_path)) == 1
    assert not list((tmp_path / "tokenizers").glob("*.partial*"))


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    expected = train_cached(TOKENIZER.parse(CONFIG), TEXTS, tmp_path).digest
    (path,) = cached(tmp_path)
    path.with_name(path.name + ".partial").write_text('{"half of a')
    path.write_text("")
    assert train_cached(TOKENIZER.parse(CONFIG), TEXTS, tmp_path).digest == expected
    assert not list((tmp_path / "tokenizers").glob("*.partial*"))
