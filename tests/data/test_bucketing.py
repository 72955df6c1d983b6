from collections import Counter
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.batch import IGNORE, BatchSize, PairBatch
from lightning_tx.data.bucketing import BucketedBatches
from tests.data.examples import pairs_of_lengths

LONGEST = 60


def captions(count: int, seed: int = 0) -> list[tuple[int, int]]:
    """Lengths like Multi30k's in byte pairs: mean 15 and deviation 5 on both sides, correlated by 0.85."""
    draw = np.random.default_rng(seed)
    source = np.clip(draw.lognormal(2.67, 0.29, count), 3, 50).round().astype(int)
    target = np.clip(source * draw.lognormal(0.0, 0.18, count), 3, 50).round().astype(int)
    return [(int(s), int(t)) for s, t in zip(source, target, strict=True)]


LENGTHS = captions(2000)
SPLIT = pairs_of_lengths(LENGTHS)
SIZES = [BatchSize(tokens=512), BatchSize(tokens=3000), BatchSize(sequences=1), BatchSize(sequences=33)]


def batches(batch: BatchSize = SIZES[0], lengths: list[tuple[int, int]] | None = None, **more) -> BucketedBatches:
    split = SPLIT if lengths is None else pairs_of_lengths(lengths)
    return BucketedBatches(split, **{"max_seq_len": LONGEST, "batch": batch} | more)


def examples(made) -> list[list[int]]:
    return [batch.examples_B.tolist() for batch in made]


def places(batch: PairBatch) -> int:
    """Tokens of both sides, padding counted."""
    return batch.source_BS.numel() + batch.targets_BT.numel()


def real(batch: PairBatch) -> int:
    mask = batch.source_token_mask_BS
    return int(batch.num_targets) + (batch.source_BS.numel() if mask is None else int(mask.sum()))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_pair_appears_once_in_an_epoch(size: BatchSize, shuffle: bool) -> None:
    loader = batches(size, shuffle=shuffle)
    for epoch in range(3):
        loader.set_epoch(epoch)
        made = examples(loader)
        assert sorted(example for batch in made for example in batch) == list(range(len(LENGTHS)))
        assert len(made) == len(loader)


@pytest.mark.parametrize("limit", [10, 14, 20])
def test_pairs_that_are_too_long_are_not_trained_on(limit: int) -> None:
    loader = batches(max_seq_len=limit)
    seen = Counter(example for batch in examples(loader) for example in batch)
    assert seen == Counter(example for example, pair in enumerate(LENGTHS) if max(pair) <= limit)


def test_evaluation_cuts_what_is_too_long() -> None:
    made = list(batches(max_seq_len=10, shuffle=False))
    assert sorted(example for batch in examples(made) for example in batch) == list(range(len(LENGTHS)))
    assert max(max(batch.source_BS.shape[1], batch.targets_BT.shape[1]) for batch in made) == 10
    expected = sum(min(source, 10) + min(target, 10) for source, target in LENGTHS)
    assert sum(map(real, made)) == expected


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("budget", [24, 100, 512, 3000])
def test_no_batch_exceeds_its_tokens_but_for_a_single_long_pair(budget: int, shuffle: bool) -> None:
    for batch in batches(BatchSize(tokens=budget), shuffle=shuffle):
        assert places(batch) <= budget or len(batch.examples_B) == 1


def test_batches_of_a_number_of_pairs_have_that_many() -> None:
    sizes = Counter(len(batch) for batch in examples(batches(BatchSize(sequences=33))))
    assert sizes == {33: 2000 // 33, 2000 % 33: 1}


@pytest.mark.parametrize("size", [BatchSize(tokens=4096), BatchSize(tokens=8192), BatchSize(sequences=64)])
def test_little_is_padding(size: BatchSize) -> None:
    made = list(batches(size, captions(29_000)))
    assert 1 - sum(map(real, made)) / sum(map(places, made)) <= 0.08


@pytest.mark.parametrize("size", SIZES)
def test_batches_are_filled(size: BatchSize) -> None:
    """With the next pair beside it, no batch would keep to its size."""
    made = examples(batches(size, shuffle=False))[::-1]
    for batch, (following, *_) in pairwise(made):
        together = [*batch, following]
        width = sum(max(LENGTHS[example][side] for example in together) for side in (0, 1))
        assert len(together) > (size.sequences or size.tokens // width)


def test_epochs_differ_and_come_back() -> None:
    loader = batches(seed=3)
    made = []
    for epoch in (0, 1, 2, 0):
        loader.set_epoch(epoch)
        made.append(examples(loader))
    assert made[0] == made[3]
    assert made[0] != made[1] != made[2] != made[0]
    assert examples(batches(seed=4)) != made[0]


def test_pairs_of_equal_lengths_meet_others_in_each_epoch() -> None:
    loader = batches(BatchSize(sequences=10), [(7, 8)] * 100)
    together = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        together.append({frozenset(batch) for batch in examples(loader)})
    assert not together[0] & together[1]


def test_the_order_of_batches_is_not_that_of_lengths() -> None:
    widths = [batch.source_BS.shape[1] for batch in batches()]
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.3


def test_every_epoch_has_the_same_number_and_sizes_of_batches() -> None:
    loader = batches()
    shapes = []
    for epoch in range(4):
        loader.set_epoch(epoch)
        shapes.append(Counter((*batch.source_BS.shape, batch.targets_BT.shape[1]) for batch in loader))
    assert shapes[0] == shapes[1] == shapes[2] == shapes[3]
    assert sum(shapes[0].values()) == len(loader)


def same(left: PairBatch, right: PairBatch) -> bool:
    pairs = [(getattr(left, field.name), getattr(right, field.name)) for field in fields(PairBatch)]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("shuffle", [True, False])
def test_entered_in_the_middle_an_epoch_goes_on_as_if_unbroken(shuffle: bool) -> None:
    whole = batches(SIZES[1], shuffle=shuffle)
    whole.set_epoch(2)
    expected = list(whole)
    for start in range(len(expected) + 1):
        resumed = batches(SIZES[1], shuffle=shuffle)
        resumed.set_epoch(2, start=start)
        rest = list(resumed)
        assert all(same(a, b) for a, b in zip(rest, expected[start:], strict=True))
        assert len(resumed) == len(expected)


def test_the_next_epoch_starts_at_its_beginning() -> None:
    loader = batches()
    loader.set_epoch(0, start=3)
    loader.set_epoch(1)
    assert len(list(loader)) == len(loader)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 1000)])
def test_there_is_no_such_batch(epoch: int, start: int) -> None:
    with pytest.raises(ValueError, match="There is no batch"):
        batches().set_epoch(epoch, start)


def test_evaluation_is_the_same_every_time_and_starts_with_the_longest() -> None:
    loader = batches(shuffle=False)
    first = examples(loader)
    loader.set_epoch(5)
    assert examples(loader) == first
    widths = [batch.source_BS.shape[1] for batch in loader]
    assert widths == sorted(widths, reverse=True) and widths[0] == max(source for source, _ in LENGTHS)


def test_when_every_pair_is_too_long_it_says_so() -> None:
    with pytest.raises(ConfigError, match=r"^model\.max_seq_len: 7 is shorter than every pair .* the shortest has 9 "):
        batches(lengths=[(9, 4), (12, 30), (5, 10)], max_seq_len=7)


def test_no_pairs_are_evaluated_in_no_time_and_cannot_be_trained_on() -> None:
    assert list(batches(lengths=[], shuffle=False)) == []
    with pytest.raises(ConfigError, match=r"^data\.name: the training split has no pairs\."):
        batches(lengths=[])


def test_a_single_pair_is_an_epoch() -> None:
    loader = batches(BatchSize(tokens=4), [(5, 6)])
    assert [batch.targets_BT.shape for batch in loader] == [(1, 6)]
    assert all(IGNORE not in batch.targets_BT for batch in loader)


def test_a_data_loader_passes_the_batches_on() -> None:
    loader = batches()
    assert all(same(a, b) for a, b in zip(DataLoader(loader, batch_size=None), loader, strict=True))
