from dataclasses import fields

import numpy as np
import pytest

from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.data.corpus import EncodedSplit
from lightning_tx.data.rows import Rows
from tests.data.examples import PAD, numbered_split

Grid = list[list[int]]


def naive(split: EncodedSplit, offsets: list[int], seq_len: int) -> dict[str, Grid | None]:
    """The same rows token by token; nothing in common with the code under test."""
    length, starts = len(split.tokens), set(split.starts.tolist())
    out: dict[str, Grid] = {name: [] for name in ("tokens", "targets", "positions", "documents", "token_mask")}
    for offset in offsets:
        row: dict[str, list[int]] = {name: [] for name in out}
        position = document = 0
        for place in range(offset, offset + seq_len):
            if place > offset and place in starts:
                position, document = 0, document + 1
            real = place < length
            row["tokens"].append(int(split.tokens[place]) if real else PAD)
            has_target = place + 1 < length and place + 1 not in starts
            row["targets"].append(int(split.tokens[place + 1]) if has_target else IGNORE)
            row["positions"].append(position if real else 0)
            row["documents"].append(document)
            row["token_mask"].append(real)
            position += 1
        for name, values in row.items():
            out[name].append(values)
    result: dict[str, Grid | None] = dict(out)
    if not any(document for row in out["documents"] for document in row):
        result["positions"] = result["documents"] = None
    if all(real for row in out["token_mask"] for real in row):
        result["token_mask"] = None
    return result


def as_lists(batch: Batch) -> dict[str, Grid | None]:
    tensors = {field.name.removesuffix("_BT"): getattr(batch, field.name) for field in fields(batch)}
    return {name: None if tensor is None else tensor.tolist() for name, tensor in tensors.items()}


def assert_as_naive(split: EncodedSplit, offsets: list[int], seq_len: int) -> None:
    batch = Rows(split, seq_len)(np.array(offsets, np.int64))
    assert as_lists(batch) == naive(split, offsets, seq_len)


@pytest.mark.parametrize("seed", range(40))
def test_rows_are_those_of_a_loop_over_tokens(seed: int) -> None:
    generator = np.random.default_rng(seed)
    length = int(generator.integers(2, 400))
    starts = [
        0,
        *sorted({int(start) for start in generator.integers(2, length + 2, length // 9)} - {length, length + 1}),
    ]
    seq_len, rows = int(generator.integers(1, 40)), int(generator.integers(1, 9))
    offsets = generator.integers(0, length - 1, rows).tolist()
    assert_as_naive(numbered_split(length, starts), offsets, seq_len)


def test_no_border_no_padding_no_masks() -> None:
    batch = Rows(numbered_split(100, [0, 50]), 10)(np.array([0, 25, 60]))
    assert batch.positions_BT is None
    assert batch.documents_BT is None
    assert batch.token_mask_BT is None


def test_a_row_that_begins_with_a_document_has_no_border() -> None:
    assert Rows(numbered_split(100, [0, 50]), 10)(np.array([50])).documents_BT is None


def test_a_document_that_begins_after_a_rows_last_token_hides_the_last_target_alone() -> None:
    batch = Rows(numbered_split(100, [0, 50]), 10)(np.array([40]))
    assert batch.documents_BT is None
    assert batch.targets_BT.tolist() == [[*range(41, 50), IGNORE]]


def test_documents_and_positions_start_again_at_each_border() -> None:
    batch = Rows(numbered_split(100, [0, 2, 5, 50]), 8)(np.array([1, 60]))
    assert batch.documents_BT is not None
    assert batch.positions_BT is not None
    assert batch.documents_BT.tolist() == [[0, 1, 1, 1, 2, 2, 2, 2], [0] * 8]
    assert batch.positions_BT.tolist() == [[0, 0, 1, 2, 0, 1, 2, 3], [*range(8)]]
    assert batch.targets_BT.tolist() == [[IGNORE, 3, 4, IGNORE, 6, 7, 8, 9], [*range(61, 69)]]


def test_what_the_last_row_lacks_is_padding() -> None:
    batch = Rows(numbered_split(10, [0]), 4)(np.array([4, 8]))
    assert batch.tokens_BT.tolist() == [[4, 5, 6, 7], [8, 9, PAD, PAD]]
    assert batch.targets_BT.tolist() == [[5, 6, 7, 8], [9, IGNORE, IGNORE, IGNORE]]
    assert batch.token_mask_BT is not None
    assert batch.token_mask_BT.tolist() == [[True] * 4, [True, True, False, False]]


def test_a_last_token_without_a_successor_is_no_padding() -> None:
    batch = Rows(numbered_split(8, [0]), 4)(np.array([4]))
    assert batch.token_mask_BT is None
    assert batch.targets_BT.tolist() == [[5, 6, 7, IGNORE]]


def test_tokens_beyond_the_range_of_int16_and_uint16() -> None:
    for dtype, largest in ((np.uint16, 2**16 - 1), (np.uint32, 2**17)):
        split = EncodedSplit(np.full(9, largest, dtype), np.array([0]), 9, 0)
        batch = Rows(split, 4)(np.array([0]))
        assert batch.tokens_BT.tolist() == batch.targets_BT.tolist() == [[largest] * 4]
