from typing import Any

import pytest
import torch

from lightning_tx.components.positions.rope_yarn import YarnRope
from lightning_tx.core.errors import ConfigError
from lightning_tx.testing.places import dims, site
from tests.components.positions.llama import turned_by_llama


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"truncate": False},
        {"factor": 16.0, "beta_fast": 8.0, "beta_slow": 2.0},
        {"attention_factor": 1.0, "original_max_seq_len": 2000},
    ],
    ids=str,
)
def test_pairs_turn_and_grow_as_in_transformers(options: dict[str, Any]) -> None:
    sizes = dims(head_dim=32, max_seq_len=512)
    x, positions = torch.randn(2, 3, 10, 32), torch.stack([torch.arange(10), torch.arange(10) + 1500])
    found = YarnRope(sizes, site("positions"), **options).rotate(x, positions)
    theirs: dict[str, Any] = {"factor": 4.0, "original_max_position_embeddings": 512} | options
    theirs["original_max_position_embeddings"] = theirs.pop("original_max_seq_len", 512)
    expected = turned_by_llama(x, positions, rope_type="yarn", **theirs)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)
    assert not torch.allclose(found, turned_by_llama(x, positions, rope_type="default"), atol=0.1)


def test_the_ends_of_the_ramp_show() -> None:
    sizes, x, positions = dims(head_dim=32, max_seq_len=512), torch.randn(1, 1, 10, 32), torch.arange(10)[None] + 1500
    rounded, exact = (YarnRope(sizes, site("positions"), truncate=each).rotate(x, positions) for each in (True, False))
    assert not torch.allclose(rounded, exact, atol=0.1)


def test_a_ramp_that_falls_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^positions\.beta_fast: 1\.0 does not exceed positions\.beta_slow = 2\.0"):
        YarnRope(dims(), site("positions"), beta_fast=1.0, beta_slow=2.0)
