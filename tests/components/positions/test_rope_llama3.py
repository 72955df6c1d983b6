from typing import Any

import pytest
import torch

from lightning_tx.components.positions.rope_llama3 import Llama3Rope
from lightning_tx.core.errors import ConfigError
from lightning_tx.testing.places import dims, site
from tests.components.positions.llama import turned_by_llama


@pytest.mark.parametrize("options", [{}, {"factor": 32.0, "low_freq_factor": 2.0, "high_freq_factor": 16.0}], ids=str)
def test_pairs_turn_as_in_transformers(options: dict[str, float]) -> None:
    x, positions = torch.randn(2, 3, 10, 32), torch.stack([torch.arange(10), torch.arange(10) + 1500])
    found = Llama3Rope(dims(head_dim=32, max_seq_len=512), site("positions"), **options).rotate(x, positions)
    theirs: dict[str, Any] = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | options
    theirs |= {"rope_theta": 500_000.0, "original_max_position_embeddings": 512}
    expected = turned_by_llama(x, positions, rope_type="llama3", **theirs)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)
    plain = turned_by_llama(x, positions, rope_type="default", rope_theta=500_000.0)
    assert not torch.allclose(found, plain, atol=0.1)


def test_a_ramp_that_falls_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^positions\.high_freq_factor: 1\.0 does not exceed .*low_freq_factor = 1"):
        Llama3Rope(dims(), site("positions"), high_freq_factor=1.0)
