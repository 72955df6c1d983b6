import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.order import SequentialOrder, ShuffledOrder


def shuffled(num_tokens: int = 1000, seed: int = 1) -> ShuffledOrder:
    return ShuffledOrder(num_tokens, 10, 4, seed)


@pytest.mark.parametrize("num_tokens", [50, 51, 59, 60, 777, 1000])
def test_rows_of_an_epoch_fit_the_stream_and_do_not_overlap(num_tokens: int) -> None:
    order = shuffled(num_tokens)
    for epoch in range(30):
        offsets = order.offsets(epoch)
        assert len(offsets) == order.num_batches * 4
        assert offsets.min() >= 0
        assert offsets.max() + 10 < num_tokens
        assert len(set(offsets.tolist())) == len(offsets)
        assert len(set((offsets % 10).tolist())) == 1


def test_an_epoch_has_all_rows_but_those_that_fill_no_batch() -> None:
    order = shuffled(1000)
    assert order.num_batches == (1000 - 10) // 10 // 4


def test_all_offsets_occur() -> None:
    order = shuffled(1000)
    assert {int(order.offsets(epoch)[0] % 10) for epoch in range(200)} == set(range(10))


def test_every_token_has_its_turn() -> None:
    order = shuffled(205)
    seen = {int(offset) + column for epoch in range(100) for offset in order.offsets(epoch) for column in range(10)}
    assert seen == set(range(204))


def test_epochs_and_seeds_differ_and_are_repeatable() -> None:
    orders = {(seed, epoch): tuple(shuffled(seed=seed).offsets(epoch)) for seed in range(4) for epoch in range(4)}
    assert len(set(orders.values())) == len(orders)
    assert all(tuple(shuffled(seed=seed).offsets(epoch)) == order for (seed, epoch), order in orders.items())


def test_the_order_is_the_same_in_another_process() -> None:
    order = shuffled(100_000, seed=7)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(order.offsets, 3).result(30), order.offsets(3))


def test_less_than_a_batch_is_refused_with_the_numbers() -> None:
    assert shuffled(50).num_batches == 1
    with pytest.raises(ConfigError) as caught:
        shuffled(49)
    (problem,) = caught.value.problems
    assert problem == (
        "trainer.batch_size: 4 rows of model.max_seq_len 10 tokens need a training split of 50 tokens, "
        "and this one has 49."
    )
    with pytest.raises(ConfigError):
        shuffled(0)


@pytest.mark.parametrize("num_tokens", [0, 1, 2, 10, 11, 12, 100, 101])
def test_evaluation_starts_a_row_for_every_tenth_target_once(num_tokens: int) -> None:
    order = SequentialOrder(num_tokens, 10, 4)
    offsets = order.offsets(0).tolist()
    assert offsets == list(range(0, max(num_tokens - 1, 0), 10))
    assert order.num_batches == -(-len(offsets) // 4)
