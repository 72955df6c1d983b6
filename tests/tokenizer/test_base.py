import pickle
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from lightning_tx.core.errors import ConfigError
from lightning_tx.tokenizer.base import SPECIAL_TOKENS, Tokenizer, TokenizerTrainer
from lightning_tx.tokenizer.bpe import Bpe
from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character
from tests.data.examples import AWKWARD_TEXTS

TRAINERS = [Byte(), Character(), Bpe(vocab_size=400)]
#: Text that would give a merged token "<eos>" if there were one to be made.
TEXTS = [*AWKWARD_TEXTS, "<eos> <eos><eos>" * 50, "[MASK] " * 50]


@pytest.fixture(params=TRAINERS, ids=lambda trainer: type(trainer).__name__)
def trainer(request: pytest.FixtureRequest) -> TokenizerTrainer:
    return request.param


@pytest.fixture
def tokenizer(trainer: TokenizerTrainer) -> Tokenizer:
    return trainer.train(TEXTS)


def test_special_tokens_have_the_first_ids(tokenizer: Tokenizer) -> None:
    assert SPECIAL_TOKENS == ("<pad>", "<bos>", "<eos>", "<unk>")
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert [tokenizer.id_of(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]


def test_text_that_reads_like_a_special_token_is_text(tokenizer: Tokenizer) -> None:
    for text in SPECIAL_TOKENS:
        ids = tokenizer.encode(f"a {text} b{text}")
        assert min(ids) > 3
        assert tokenizer.decode(ids) == f"a {text} b{text}"


def test_what_was_seen_comes_back_exactly(tokenizer: Tokenizer) -> None:
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_ids_are_within_the_vocabulary(tokenizer: Tokenizer) -> None:
    assert max(token for text in TEXTS for token in tokenizer.encode(text)) < tokenizer.vocab_size


def test_a_batch_is_encoded_as_each_of_its_texts(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    assert tokenizer.encode_batch([]) == []


def test_special_tokens_have_no_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("word")
    framed = [tokenizer.bos_id, *ids, tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id]
    assert tokenizer.decode(framed) == "word"
    assert tokenizer.decode([*ids, tokenizer.vocab_size + 5]) == "word"


@pytest.mark.parametrize("journey", ["file", "pickle"])
def test_it_is_the_same_after_a_journey(tokenizer: Tokenizer, tmp_path: Path, journey: str) -> None:
    if journey == "file":
        tokenizer.save(tmp_path / "new" / "tokenizer.json")
        arrived = Tokenizer.load(tmp_path / "new" / "tokenizer.json")
    else:
        arrived = pickle.loads(pickle.dumps(tokenizer))
    assert arrived.digest == tokenizer.digest
    assert arrived.vocab_size == tokenizer.vocab_size
    assert arrived.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)


def test_saving_replaces_and_leaves_nothing_else(trainer: TokenizerTrainer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("old")
    trainer.train(TEXTS).save(path)
    assert Tokenizer.load(path).digest == trainer.train(TEXTS).digest
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


def test_digests_are_short_and_differ() -> None:
    digests = [trainer.train(TEXTS).digest for trainer in TRAINERS]
    assert len(set(digests)) == len(digests)
    assert {len(digest) for digest in digests} == {32}


def test_a_recipe_may_append_special_tokens() -> None:
    class WithMask(Bpe):
        special_tokens = (*SPECIAL_TOKENS, "[MASK]")

    tokenizer = WithMask(vocab_size=400).train(TEXTS)
    assert tokenizer.id_of("[MASK]") == 4
    assert 4 not in tokenizer.encode("a [MASK] b")
    assert tokenizer.decode(tokenizer.encode("a [MASK] b")) == "a [MASK] b"


def test_files_that_hold_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^tokenizer: '.*missing' cannot be read"):
        Tokenizer.load(tmp_path / "missing")
    (tmp_path / "broken").write_text("{}")
    with pytest.raises(ConfigError, match=r"^tokenizer: this is not the content of a tokenizer.json"):
        Tokenizer.load(tmp_path / "broken")
    with pytest.raises(ConfigError, match=r"^tokenizer: its vocabulary has no token '<bos>'"):
        Tokenizer(Backend(models.BPE(vocab={"<pad>": 0}, merges=[])).to_str())
