from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.data.packing import PackedBatches
from tests.data.examples import PAD, numbered_split

STARTS = [0, 17, 40, 41 + 2, 150, 299, 480]
SPLIT = numbered_split(500, STARTS)


def same(left: Batch, right: Batch) -> bool:
    pairs = [(getattr(left, field.name), getattr(right, field.name)) for field in fields(Batch)]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def tokens(batches: PackedBatches) -> list[list[int]]:
    return [batch.tokens_BT.flatten().tolist() for batch in batches]


def test_batches_of_training_are_full_and_as_many_as_promised() -> None:
    batches = PackedBatches(SPLIT, seq_len=16, batch_size=4)
    made = list(batches)
    assert len(made) == len(batches) == (500 - 16) // 16 // 4
    assert {batch.tokens_BT.shape for batch in made} == {(4, 16)}
    assert all(batch.token_mask_BT is None for batch in made)


def test_an_epoch_of_training_shows_no_token_twice() -> None:
    batches = PackedBatches(SPLIT, seq_len=16, batch_size=4)
    for epoch in range(5):
        batches.set_epoch(epoch)
        shown = [token for batch in tokens(batches) for token in batch]
        assert len(shown) == len(set(shown))


def test_epochs_differ_and_come_back() -> None:
    batches = PackedBatches(SPLIT, seq_len=16, batch_size=4, seed=3)
    epochs = []
    for epoch in (0, 1, 2, 0):
        batches.set_epoch(epoch)
        epochs.append(tokens(batches))
    assert epochs[0] == epochs[3]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    other_seed = PackedBatches(SPLIT, seq_len=16, batch_size=4, seed=4)
    assert tokens(other_seed) != epochs[0]


@pytest.mark.parametrize("shuffle", [True, False])
def test_entered_in_the_middle_an_epoch_goes_on_as_if_unbroken(shuffle: bool) -> None:
    whole = PackedBatches(SPLIT, seq_len=16, batch_size=4, shuffle=shuffle)
    whole.set_epoch(2)
    expected = list(whole)
    for start in range(len(expected) + 1):
        resumed = PackedBatches(SPLIT, seq_len=16, batch_size=4, shuffle=shuffle)
        resumed.set_epoch(2, start=start)
        rest = list(resumed)
        assert len(rest) == len(expected) - start
        assert all(same(left, right) for left, right in zip(rest, expected[start:], strict=True))
        assert len(resumed) == len(expected)


def test_the_next_epoch_starts_at_its_beginning() -> None:
    batches = PackedBatches(SPLIT, seq_len=16, batch_size=4)
    batches.set_epoch(0, start=3)
    batches.set_epoch(1)
    assert len(list(batches)) == len(batches)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 8)])
def test_there_is_no_such_batch(epoch: int, start: int) -> None:
    with pytest.raises(ValueError, match="There is no batch"):
        PackedBatches(SPLIT, seq_len=16, batch_size=4).set_epoch(epoch, start)


@pytest.mark.parametrize("seq_len", [1, 7, 16, 499, 500, 1000])
def test_evaluation_asks_for_every_target_once(seq_len: int) -> None:
    asked: list[int] = []
    seen: list[int] = []
    batches = PackedBatches(SPLIT, seq_len=seq_len, batch_size=4, shuffle=False)
    made = list(batches)
    assert len(made) == len(batches)
    for batch in made:
        asked += batch.targets_BT[batch.targets_BT != IGNORE].tolist()
        mask = batch.tokens_BT != PAD
        seen += batch.tokens_BT[mask].tolist()
        assert (batch.token_mask_BT is None) == bool(mask.all())
        if batch.token_mask_BT is not None:
            assert torch.equal(batch.token_mask_BT, mask)
        known = batch.targets_BT != IGNORE
        assert torch.equal(batch.targets_BT[known], batch.tokens_BT[known] + 1)
    assert sorted(asked) == sorted(set(range(500)) - set(STARTS))
    assert len(seen) == len(set(seen))


def test_the_last_batch_of_evaluation_may_be_smaller_and_alone_has_padding() -> None:
    made = list(PackedBatches(SPLIT, seq_len=16, batch_size=5, shuffle=False))
    assert [len(batch.tokens_BT) for batch in made] == [5] * 6 + [2]
    assert [batch.token_mask_BT is None for batch in made] == [True] * 6 + [False]


def test_only_batches_with_a_border_name_documents() -> None:
    made = list(PackedBatches(numbered_split(400, [0, 200]), seq_len=16, batch_size=5, shuffle=False))
    assert [batch.documents_BT is not None for batch in made] == [False, False, True, False, False]


def test_an_empty_split_is_evaluated_in_no_time_and_cannot_be_trained_on() -> None:
    empty = numbered_split(0, [])
    assert list(PackedBatches(empty, seq_len=16, batch_size=4, shuffle=False)) == []
    with pytest.raises(ConfigError, match=r"^trainer.batch_size: 4 rows of model.max_seq_len 16 .* has 0\."):
        PackedBatches(empty, seq_len=16, batch_size=4)


def test_a_data_loader_passes_the_batches_on() -> None:
    batches = PackedBatches(SPLIT, seq_len=16, batch_size=4)
    assert all(same(a, b) for a, b in zip(DataLoader(batches, batch_size=None), batches, strict=True))


def test_batches_do_not_share_memory_with_the_split_or_each_other() -> None:
    batches = PackedBatches(SPLIT, seq_len=16, batch_size=4, shuffle=False)
    first, second = list(batches)[:2]
    before = second.tokens_BT.clone()
    first.tokens_BT.zero_()
    first.targets_BT.zero_()
    assert torch.equal(second.tokens_BT, before)
    assert np.array_equal(SPLIT.tokens, np.arange(500))
