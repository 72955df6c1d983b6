import pytest
import torch

from lightning_tx.components.positions.rope_ntk import NtkRope
from lightning_tx.testing.places import dims, site
from tests.components.positions.llama import turned_by_llama


@pytest.mark.parametrize("factor", [2.0, 8.0])
def test_pairs_turn_as_in_transformers(factor: float) -> None:
    # The dynamic variant with factor - 1 has the same base where the text is twice as long as trained.
    trained = 64
    x, positions = torch.randn(1, 3, 2 * trained, 16), torch.arange(2 * trained)[None]
    found = NtkRope(dims(head_dim=16), site("positions"), factor=factor).rotate(x, positions)
    expected = turned_by_llama(x, positions, trained, rope_type="dynamic", factor=factor - 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_the_fastest_pair_stays_and_the_slowest_is_slowed_down_by_the_factor() -> None:
    plain, scaled = (
        NtkRope(dims(), site("positions"), factor=factor).frequencies(
            8, dtype=torch.float64, device=torch.device("cpu")
        )
        for factor in (1.0, 4.0)
    )
    assert scaled[0] == plain[0] == 1
    torch.testing.assert_close(scaled[-1], plain[-1] / 4)
