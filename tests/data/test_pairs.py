import random
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_tx.data.base import Splits
from lightning_tx.data.batch import IGNORE, PairBatch
from lightning_tx.data.pairs import PairRows, PairSplit, prepare_pairs, side, too_long
from lightning_tx.tokenizer.base import Tokenizer
from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character
from lightning_tx.tokenizer.sides import Tokenizers
from tests.data.examples import AWKWARD_TEXTS, BOS, EOS, SOURCE_PAD, TARGET_PAD, pair_split


def random_documents(count: int, longest: int, seed: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(10, 900) for _ in range(draw.randrange(longest + 1))] for _ in range(count)]


SOURCES, TARGETS = random_documents(60, 14, 0), random_documents(60, 11, 1)
SPLIT = pair_split(SOURCES, TARGETS)


def cut(tokens: list[int], limit: int) -> list[int]:
    """Tokens and ``<eos>``, of which at most ``limit`` are left, the last of them ``<eos>``."""
    return [*tokens[: limit - 1], EOS]


def filled(rows: list[list[int]], fill: int) -> list[list[int]]:
    longest = max(map(len, rows))
    return [row + [fill] * (longest - len(row)) for row in rows]


def check(batch: PairBatch, examples: list[int], limit: int) -> None:
    """Against rows put together in plain Python."""
    sources = [cut(SOURCES[example], limit) for example in examples]
    targets = [cut(TARGETS[example], limit) for example in examples]
    assert batch.source_BS.tolist() == filled(sources, SOURCE_PAD)
    assert batch.targets_BT.tolist() == filled(targets, IGNORE)
    assert batch.tokens_BT.tolist() == [[BOS, *row[:-1]] for row in filled(targets, TARGET_PAD)]
    assert batch.examples_B.tolist() == examples
    mask = filled([[1] * len(source) for source in sources], 0)
    if all(map(all, mask)):
        assert batch.source_token_mask_BS is None
    else:
        assert batch.source_token_mask_BS is not None and batch.source_token_mask_BS.int().tolist() == mask
        assert batch.source_token_mask_BS.dtype == torch.bool
    assert batch.num_targets == sum(map(len, targets))
    for tensor in (batch.source_BS, batch.tokens_BT, batch.targets_BT, batch.examples_B):
        assert tensor.dtype == torch.int64


@pytest.mark.parametrize("limit", [1, 2, 5, 11, 12, 14, 15, 1000])
@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_rows_are_those_of_plain_python(limit: int, count: int) -> None:
    rows, draw = PairRows(SPLIT, limit), random.Random(count)
    for _ in range(5):
        examples = draw.sample(range(60), count)
        check(rows(np.array(examples)), examples, limit)


def test_a_pair_by_hand() -> None:
    split = pair_split([[10, 11, 12], [20]], [[30], [40, 41]])
    batch = PairRows(split, 100)(np.array([1, 0]))
    assert batch.source_BS.tolist() == [[20, EOS, SOURCE_PAD, SOURCE_PAD], [10, 11, 12, EOS]]
    assert batch.source_token_mask_BS is not None
    assert batch.source_token_mask_BS.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.tokens_BT.tolist() == [[BOS, 40, 41], [BOS, 30, EOS]]
    assert batch.targets_BT.tolist() == [[40, 41, EOS], [30, EOS, IGNORE]]


def test_lengths_count_eos_and_no_cut() -> None:
    rows = PairRows(SPLIT, 3)
    assert rows.source_lengths.tolist() == [len(source) + 1 for source in SOURCES]
    assert rows.target_lengths.tolist() == [len(target) + 1 for target in TARGETS]


@pytest.mark.parametrize("limit", [1, 8, 12, 15, 16])
def test_too_long_is_a_pair_with_one_side_too_long(limit: int) -> None:
    expected = [len(s) + 1 > limit or len(t) + 1 > limit for s, t in zip(SOURCES, TARGETS, strict=True)]
    assert too_long(SPLIT, limit).tolist() == expected


def test_a_batch_shares_no_memory_with_the_split() -> None:
    split = pair_split(SOURCES, TARGETS)
    batch = PairRows(split, 100)(np.arange(60))
    for tensor in (batch.source_BS, batch.tokens_BT, batch.targets_BT, batch.examples_B):
        tensor.zero_()
    assert np.array_equal(split.source.tokens, SPLIT.source.tokens)
    assert np.array_equal(split.target.tokens, SPLIT.target.tokens)


TEXTS = Splits(
    [(text, text[::-1]) for text in AWKWARD_TEXTS], [("a b", "c d e"), ("", "x")], [("left", "right")], {"empty": 3}
)


@pytest.fixture
def tokenizers() -> Tokenizers:
    return Tokenizers(Byte().train([]), Character().train(["abcdefxright "]))


def test_a_side_keeps_order_and_splits() -> None:
    sources, targets = side(TEXTS, 0), side(TEXTS, 1)
    assert sources.train == list(AWKWARD_TEXTS) and targets.validation == ["c d e", "x"]
    assert sources.test == ["left"] and targets.test == ["right"]
    assert sources.digest != targets.digest


def test_each_side_is_encoded_by_its_own_tokenizer(tmp_path: Path, tokenizers: Tokenizers) -> None:
    left, right = tokenizers.source, tokenizers.target
    corpus = prepare_pairs(TEXTS, tokenizers, tmp_path)
    assert corpus.tokenizer is right
    for name in ("train", "validation", "test"):
        split, texts = corpus.split(name), corpus.pairs(name)
        assert split.num_pairs == len(texts) and list(texts) == list(getattr(TEXTS, name))
        rows = PairRows(split, 1000)
        for example, (source, target) in enumerate(texts):
            batch = rows(np.array([example]))
            assert batch.source_BS[0].tolist() == [*left.encode(source), left.eos_id]
            assert batch.tokens_BT[0].tolist() == [right.bos_id, *right.encode(target)]
            assert batch.targets_BT[0].tolist() == [*right.encode(target), right.eos_id]


def test_what_was_encoded_once_is_opened_again(
    tmp_path: Path, tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare_pairs(TEXTS, tokenizers, tmp_path)
    monkeypatch.setattr(Tokenizer, "encode_batch", lambda *_: pytest.fail("encoded again"))
    again = prepare_pairs(TEXTS, tokenizers, tmp_path)

    def streams(split: PairSplit) -> list[list[int]]:
        return [split.source.tokens.tolist(), split.target.tokens.tolist()]

    assert streams(first.split("train")) == streams(again.split("train"))
    assert isinstance(again.split("train").source.tokens, np.memmap)


def test_one_tokenizer_may_serve_both_sides_even_of_equal_texts(tmp_path: Path, tokenizers: Tokenizers) -> None:
    same = Splits([("a", "a"), ("b", "b")], [("c", "c")], [])
    corpus = prepare_pairs(same, Tokenizers.of([tokenizers.source]), tmp_path)
    batch = PairRows(corpus.split("train"), 9)(np.array([0, 1]))
    assert torch.equal(batch.source_BS, batch.targets_BT)
    assert corpus.split("test").num_pairs == 0
