import pytest
import torch

from lightning_tx.components.positions.rope_linear import LinearRope
from lightning_tx.testing.places import dims, site
from tests.components.positions.llama import turned_by_llama


@pytest.mark.parametrize("factor", [1.0, 2.5, 8.0])
def test_pairs_turn_as_in_transformers(factor: float) -> None:
    x, positions = torch.randn(2, 3, 10, 16), torch.stack([torch.arange(10), torch.arange(10) + 100])
    found = LinearRope(dims(head_dim=16), site("positions"), factor=factor).rotate(x, positions)
    expected = turned_by_llama(x, positions, rope_type="linear", factor=factor)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
