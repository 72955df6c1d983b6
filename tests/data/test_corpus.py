import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lightning_tx.data import corpus as module
from lightning_tx.data.base import Splits
from lightning_tx.data.corpus import Corpus, prepare
from lightning_tx.data.pieces import pieces
from lightning_tx.tokenizer.base import Tokenizer
from lightning_tx.tokenizer.bpe import Bpe
from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character
from tests.data.examples import AWKWARD_TEXTS

SPLITS = Splits([*AWKWARD_TEXTS, "one more document"], ["validated on, é"], [])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Bpe(vocab_size=300).train(SPLITS.train)


def naive_stream(documents: list[str], tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    tokens: list[int] = []
    starts: list[int] = []
    for document in documents:
        starts.append(len(tokens))
        tokens += [tokenizer.bos_id, *tokenizer.encode(document), tokenizer.eos_id]
    return tokens, starts


def assert_holds(corpus: Corpus, splits: Splits[str], tokenizer: Tokenizer) -> None:
    for name in module.SPLIT_NAMES:
        tokens, starts = naive_stream(list(getattr(splits, name)), tokenizer)
        split = corpus.split(name)
        assert split.tokens.tolist() == tokens
        assert split.starts.tolist() == starts
        assert split.starts.dtype == np.int64
        assert split.num_documents == len(getattr(splits, name))
        assert split.num_bytes == sum(len(document.encode("utf-8")) for document in getattr(splits, name))
        assert split.pad_id == tokenizer.pad_id == 0


def test_every_document_between_bos_and_eos(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert_holds(prepare(SPLITS, tokenizer, tmp_path), SPLITS, tokenizer)


def test_tokens_are_mapped_and_as_narrow_as_the_vocabulary_allows(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokens = prepare(SPLITS, tokenizer, tmp_path).train.tokens
    assert isinstance(tokens, np.memmap)
    assert tokens.dtype == np.uint16
    many = "".join(map(chr, [*range(0x100, 0xD000), *range(0x10000, 0x14000)]))
    wide = Character().train([many])
    splits = Splits([many], ["x"], [])
    assert wide.vocab_size > 2**16
    encoded = prepare(splits, wide, tmp_path)
    assert encoded.train.tokens.dtype == np.uint32
    assert_holds(encoded, splits, wide)


def test_long_documents_in_pieces_and_many_documents_in_chunks(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE_CHARACTERS", 20)
    monkeypatch.setattr(module, "pieces", lambda text: pieces(text, 30))
    splits = Splits(["long words " * 40, "", "short", "another long one\n\n" * 20], ["v"], ["t"])
    assert_holds(prepare(splits, tokenizer, tmp_path), splits, tokenizer)


def test_the_second_time_nothing_is_encoded(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(SPLITS, tokenizer, tmp_path)
    monkeypatch.setattr(Tokenizer, "encode_batch", lambda self, texts: pytest.fail("encoded again"))
    prepare(SPLITS, tokenizer, tmp_path)


def test_other_data_and_other_tokenizers_have_folders_of_their_own(tokenizer: Tokenizer, tmp_path: Path) -> None:
    byte, other = Byte().train([]), Splits(["other"], ["v"], [])
    for splits, chosen in ((SPLITS, tokenizer), (SPLITS, byte), (other, byte)):
        assert_holds(prepare(splits, chosen, tmp_path), splits, chosen)
    assert len([path for path in (tmp_path / "corpus").iterdir() if path.is_dir()]) == 3


def test_two_processes_at_once_make_one_corpus(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(prepare, SPLITS, tokenizer, tmp_path) for _ in range(2)]
        for future in futures:
            assert_holds(future.result(30), SPLITS, tokenizer)
    names = [path.name for path in (tmp_path / "corpus").iterdir()]
    assert len([name for name in names if not name.endswith(".lock")]) == 1


@pytest.mark.parametrize("damage", ["partial", "truncated", "missing", "no summary", "empty summary", "empty folder"])
def test_an_incomplete_corpus_is_made_again(tokenizer: Tokenizer, tmp_path: Path, damage: str) -> None:
    prepare(SPLITS, tokenizer, tmp_path)
    (folder,) = [path for path in (tmp_path / "corpus").iterdir() if path.is_dir()]
    match damage:
        case "partial":
            folder.rename(folder.with_name(folder.name + ".partial"))
        case "truncated":
            (folder / "train.tokens.npy").write_bytes((folder / "train.tokens.npy").read_bytes()[:-2])
        case "missing":
            (folder / "validation.starts.npy").unlink()
        case "no summary":
            (folder / "corpus.json").unlink()
        case "empty summary":
            (folder / "corpus.json").write_text("")
        case "empty folder":
            for file in folder.iterdir():
                file.unlink()
    assert_holds(prepare(SPLITS, tokenizer, tmp_path), SPLITS, tokenizer)
    assert not list((tmp_path / "corpus").glob("*.partial"))
    assert json.loads((folder / "corpus.json").read_text())["num_bytes"]["test"] == 0
