import pytest
import torch

from lightning_tx.core.schemes import Constant, Normal, Uniform

SHAPE = torch.Size([200, 300])


def draw(scheme: Constant | Normal | Uniform, seed: int = 0) -> torch.Tensor:
    return scheme.draw(SHAPE, torch.Generator().manual_seed(seed))


def test_constant() -> None:
    assert torch.equal(draw(Constant(0.5)), torch.full(SHAPE, 0.5))


def test_normal_has_mean_zero_and_its_standard_deviation() -> None:
    value = draw(Normal(0.02))
    assert value.mean().item() == pytest.approx(0, abs=4 * 0.02 / SHAPE.numel() ** 0.5)
    assert value.std().item() == pytest.approx(0.02, rel=0.02)


def test_uniform_fills_its_interval() -> None:
    value = draw(Uniform(0.3))
    assert value.abs().max() <= 0.3
    assert value.min() < -0.299
    assert value.max() > 0.299
    assert value.std().item() == pytest.approx(0.3 / 3**0.5, rel=0.02)


@pytest.mark.parametrize("scheme", [Normal(1.0), Uniform(1.0)])
def test_values_depend_on_the_generator_alone(scheme: Normal | Uniform) -> None:
    assert torch.equal(draw(scheme, 1), draw(scheme, 1))
    assert not torch.equal(draw(scheme, 1), draw(scheme, 2))
