"""Single texts, a row each: padded to the longest of a batch, in batches of about equal length."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.batch import BatchSize, TextBatch
from lightning_tx.data.corpus import EncodedSplit
from lightning_tx.data.texts import PaddedBatches
from tests.data.examples import BOS, EOS, SOURCE_PAD, pair_split

LENGTHS = [3, 9, 4, 4, 12, 7, 3, 5, 30, 6, 4, 11]


def split_of(lengths: Sequence[int]) -> EncodedSplit:
    """Texts of so many tokens, ``<bos>`` and ``<eos>`` counted; a text's first word is 100 and its number."""
    texts = [[100 + number, *range(10, 10 + length - 3)] for number, length in enumerate(lengths)]
    return pair_split(texts, texts).source


def batches(batch: BatchSize | None = None, lengths: Sequence[int] = LENGTHS, **options) -> PaddedBatches:
    labels = np.arange(len(lengths)) % 3
    options = {"max_seq_len": 40, **options}
    return PaddedBatches(split_of(lengths), labels, batch=batch or BatchSize(tokens=24), **options)


def words(row: torch.Tensor, batch: TextBatch, number: int) -> list[int]:
    return row.tolist() if batch.token_mask_BT is None else row[batch.token_mask_BT[number]].tolist()


def test_a_row_is_a_text_its_label_and_padding() -> None:
    seen = []
    for batch in batches():
        assert batch.labels_B is not None and batch.tokens_BT.dtype == torch.int64
        for number, (row, example) in enumerate(zip(batch.tokens_BT, batch.examples_B.tolist(), strict=True)):
            assert words(row, batch, number) == [BOS, 100 + example, *range(10, 7 + LENGTHS[example]), EOS]
            assert batch.labels_B[number] == example % 3
            if batch.token_mask_BT is not None:
                assert (row[~batch.token_mask_BT[number]] == SOURCE_PAD).all()
        longest = max(LENGTHS[example] for example in batch.examples_B.tolist())
        assert batch.tokens_BT.shape[1] == longest
        assert (batch.token_mask_BT is None) == all(LENGTHS[each] == longest for each in batch.examples_B.tolist())
        assert len(batch.tokens_BT) == 1 or batch.tokens_BT.numel() <= 24
        seen += batch.examples_B.tolist()
    assert sorted(seen) == list(range(len(LENGTHS)))


def test_little_is_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 40, 2000).tolist()
    loader = batches(BatchSize(sequences=16), lengths)
    places = sum(batch.tokens_BT.numel() for batch in loader)
    assert sum(lengths) / places > 0.97 and len(loader) == 125


def test_training_leaves_out_what_is_too_long_and_evaluation_cuts_it() -> None:
    trained = [each for batch in batches(max_seq_len=10) for each in batch.examples_B.tolist()]
    assert sorted(trained) == [number for number, length in enumerate(LENGTHS) if length <= 10]
    first = next(iter(batches(BatchSize(sequences=1), max_seq_len=10, shuffle=False)))
    assert first.tokens_BT.shape == (1, 10) and first.tokens_BT[0, -1] == EOS


def test_the_order_is_a_function_of_seed_and_epoch_and_can_be_entered_anywhere() -> None:
    def order(seed: int, epoch: int, start: int = 0) -> list[list[int]]:
        loader = batches(BatchSize(sequences=2), seed=seed)
        loader.set_epoch(epoch, start)
        return [batch.examples_B.tolist() for batch in loader]

    assert order(0, 1) == order(0, 1) and order(0, 1)[2:] == order(0, 1, 2)
    assert order(0, 1) != order(0, 2) and order(0, 1) != order(1, 1)


def test_labels_may_be_missing_but_not_of_another_number() -> None:
    split = split_of(LENGTHS)
    options = {"max_seq_len": 40, "batch": BatchSize(sequences=4)}
    assert all(batch.labels_B is None for batch in PaddedBatches(split, **options))
    with pytest.raises(ValueError, match="2 labels for 12 texts"):
        PaddedBatches(split, np.zeros(2, np.int64), **options)


def test_nothing_to_train_on_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^data\.name: the training split has no texts\."):
        batches(lengths=[])
    with pytest.raises(ConfigError, match=r"^model\.max_seq_len: 2 is shorter than every text .* the shortest has 3 "):
        batches(max_seq_len=2)
