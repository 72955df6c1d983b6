from collections.abc import Callable

import pytest
import torch
from lightning_fabric.utilities.apply_func import move_data_to_device
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision
from torch.utils.data import DataLoader, IterableDataset

from lightning_tx.data.batch import IGNORE, Batch


def batch() -> Batch:
    tokens = torch.arange(6).view(2, 3)
    return Batch(tokens, torch.where(tokens % 2 == 0, tokens, IGNORE), token_mask_BT=tokens > 1)


@pytest.mark.parametrize(
    "move",
    [lambda it: it.to("meta"), lambda it: move_data_to_device(it, torch.device("meta"))],
    ids=["to", "lightning"],
)
def test_every_tensor_moves_and_what_is_none_stays_none(move: Callable[[Batch], Batch]) -> None:
    moved = move(batch())
    for tensor in (moved.tokens_BT, moved.targets_BT, moved.token_mask_BT):
        assert tensor is not None
        assert tensor.device.type == "meta"
    assert moved.positions_BT is None
    assert moved.documents_BT is None


@pytest.mark.parametrize("precision", [HalfPrecision("bf16-true"), DoublePrecision()])
def test_lightning_converts_it_at_every_precision(precision: HalfPrecision) -> None:
    converted = precision.convert_input(batch())
    assert converted.tokens_BT.dtype == torch.int64
    assert torch.equal(converted.targets_BT, batch().targets_BT)


def test_a_data_loader_hands_it_on_unchanged() -> None:
    class One(IterableDataset):
        def __iter__(self):
            yield batch()

    (loaded,) = DataLoader(One(), batch_size=None)
    assert isinstance(loaded, Batch)
    assert torch.equal(loaded.targets_BT, batch().targets_BT)


def test_targets_are_counted_without_those_to_ignore() -> None:
    assert batch().num_targets == 3
    assert batch().to("meta").num_targets.device.type == "meta"
