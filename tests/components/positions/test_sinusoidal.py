import math

import pytest
import torch
from torch import Tensor

from lightning_tx.components.positions.learned import Learned
from lightning_tx.components.positions.sinusoidal import Sinusoidal
from lightning_tx.core.errors import ConfigError
from lightning_tx.testing.places import dims, site


def encoding(width: int, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """What is added to an embedding, [T, D] in float64."""
    component = Sinusoidal(dims(d_model=width), site("positions"), base=base)
    return component.embed(torch.zeros(1, len(positions), width, dtype=torch.float64), positions[None])[0]


@pytest.mark.parametrize("base", [10_000.0, 100.0])
def test_the_formula(base: float) -> None:
    width = 6
    found = encoding(width, torch.arange(50), base)
    for position in range(50):
        for i in range(width // 2):
            angle = position / base ** (2 * i / width)
            assert found[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert found[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_it_is_added_to_each_row_by_its_positions() -> None:
    component = Sinusoidal(dims(d_model=6), site("positions"))
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    positions = torch.tensor([[0, 1, 2], [7, 0, 0]])
    added = component.embed(x, positions) - x
    torch.testing.assert_close(added, encoding(6, positions.flatten()).view(2, 3, 6))


@pytest.mark.parametrize("offset", [1, 7, 100])
def test_a_fixed_offset_is_a_rotation_of_each_pair(offset: int) -> None:
    width, positions = 16, torch.arange(500)
    here, there = encoding(width, positions), encoding(width, positions + offset)
    # The one linear map that fits best takes every position to the one that lies further by the offset …
    fitted = torch.linalg.lstsq(here, there).solution
    torch.testing.assert_close(here @ fitted, there, rtol=0, atol=1e-8)
    # … and it turns pair i by offset / base^(2i/D).
    angles = [offset / 10_000 ** (2 * i / width) for i in range(width // 2)]
    turns = [torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=here.dtype) for a in angles]
    torch.testing.assert_close(here @ torch.block_diag(*turns), there, rtol=0, atol=1e-9)


def test_wavelengths_are_geometric_from_2_pi_to_10000_times_2_pi() -> None:
    width = 512
    steps = encoding(width, torch.arange(2))
    wavelengths = 2 * math.pi / torch.atan2(steps[1, 0::2], steps[1, 1::2])
    ratios = wavelengths[1:] / wavelengths[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), rtol=1e-9, atol=0)
    assert wavelengths[0].item() == pytest.approx(2 * math.pi)
    # The last pair is one step of the progression short of 2 pi base.
    assert (wavelengths[-1] * ratios[0]).item() == pytest.approx(2 * math.pi * 10_000)


def test_it_extends_past_the_training_length_where_learned_ends() -> None:
    sizes = dims(max_seq_len=8)
    x, positions = torch.zeros(1, 9, sizes.d_model), torch.arange(9)[None]
    assert Sinusoidal(sizes, site("positions")).embed(x, positions).isfinite().all()
    with pytest.raises(ConfigError, match=r"knows 8 positions .*max_seq_len.* 9 tokens"):
        Learned(sizes, site("positions")).embed(x, positions)


def test_low_precision_rounds_only_the_result() -> None:
    component = Sinusoidal(dims(d_model=6), site("positions"))
    positions = torch.arange(3000)[None]
    found = component.embed(torch.zeros(1, 3000, 6, dtype=torch.bfloat16), positions)[0]
    torch.testing.assert_close(found.double(), encoding(6, positions[0]), rtol=2**-8, atol=1e-3)


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.d_model: 7 is odd"):
        Sinusoidal(dims(d_model=7), site("positions"))
