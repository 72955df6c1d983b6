import pytest
import torch
from torch import nn

from lightning_tx.kernels.dropout import Dropout

PROBABILITIES = (0.001, 0.1, 0.25, 0.5, 0.9)


def dropped(p: float, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return Dropout(p).train()(x)


def rounded(p: float) -> float:
    """The probability that is meant: the nearest of 1/256, ..., 255/256."""
    return min(range(1, 256), key=lambda level: abs(level / 256 - p)) / 256


@pytest.mark.parametrize("p", PROBABILITIES)
def test_a_share_of_the_entries_is_zero_and_the_others_are_scaled(p: float) -> None:
    out = dropped(p, torch.ones(1_000_000, dtype=torch.float64))
    share, expected = (out == 0).double().mean().item(), rounded(p)
    # Five standard deviations of a binomial share.
    assert share == pytest.approx(expected, abs=5 * (expected * (1 - expected) / out.numel()) ** 0.5)
    assert out[out != 0].unique().tolist() == pytest.approx([1 / (1 - expected)], rel=1e-12)


@pytest.mark.parametrize("p", PROBABILITIES)
def test_the_mean_stays(p: float) -> None:
    x = torch.randn(1_000_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 3
    spread = (x.square().mean() * rounded(p) / (1 - rounded(p)) / len(x)).sqrt().item()
    assert (dropped(p, x) - x).mean().item() == pytest.approx(0, abs=5 * spread)


@pytest.mark.parametrize(("p", "level"), [(1e-9, 1), (0.001, 1), (0.1, 26), (0.5, 128), (0.999999, 255)])
def test_the_probability_is_rounded_to_a_multiple_of_a_256th(p: float, level: int) -> None:
    """One byte has 256 values, so that the scale tells the probability exactly."""
    out = dropped(p, torch.ones(100_000, dtype=torch.float64))
    assert out.max().item() == pytest.approx(256 / (256 - level), rel=1e-15)
    assert rounded(p) == level / 256


def test_entries_fall_independently_of_each_other_and_of_their_place() -> None:
    """Eight neighbours share a random word, and no place in it may be favoured or follow another."""
    kept = (dropped(0.25, torch.ones(400_000, 8, dtype=torch.float64)) != 0).double()
    assert kept.mean(dim=0).tolist() == pytest.approx([0.75] * 8, abs=0.004)
    correlation = torch.corrcoef(kept.T) - torch.eye(8)
    assert correlation.abs().max().item() < 0.01
    assert torch.corrcoef(torch.stack([kept[:-1].flatten(), kept[1:].flatten()]))[0, 1].abs().item() < 0.01


def test_the_seed_decides_and_every_call_differs() -> None:
    x = torch.ones(4096)
    assert torch.equal(dropped(0.3, x), dropped(0.3, x))
    assert not torch.equal(dropped(0.3, x), dropped(0.3, x, seed=1))
    torch.manual_seed(0)
    layer = Dropout(0.3).train()
    assert not torch.equal(layer(x), layer(x))


def test_a_restored_generator_draws_the_same_again() -> None:
    layer, x = Dropout(0.3).train(), torch.ones(1001)
    layer(x)
    state = torch.get_rng_state()
    first = layer(x)
    torch.set_rng_state(state)
    assert torch.equal(layer(x), first)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (8,), (9,), (3, 5, 17), (2, 0, 4), (1, 1, 1, 13)])
def test_any_shape_will_do(shape: tuple[int, ...]) -> None:
    x = torch.full(shape, 2.0)
    out = dropped(0.5, x)
    assert out.shape == x.shape and out.dtype == x.dtype
    assert set(out.flatten().tolist()) <= {0.0, 4.0}


def test_a_view_with_gaps_will_do_and_the_input_stays_as_it_is() -> None:
    x = torch.arange(1.0, 241.0).view(10, 24).T[::2]
    before = x.clone()
    out = dropped(0.5, x)
    kept = out != 0
    assert torch.equal(out[kept], 2 * before[kept]) and 0 < kept.sum() < x.numel()
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_gradient_is_the_mask_times_the_scale(dtype: torch.dtype) -> None:
    x = torch.ones(999, dtype=dtype, requires_grad=True)
    out = dropped(0.3, x)
    upstream = torch.randn(999, generator=torch.Generator().manual_seed(2)).to(dtype)
    out.backward(upstream)
    scale = 256 / (256 - 77)
    expected = torch.where(out != 0, upstream * scale, torch.zeros((), dtype=dtype))
    assert x.grad is not None and x.grad.dtype == dtype
    assert torch.equal(x.grad, expected)


def test_gradients_of_both_orders_are_those_of_finite_differences() -> None:
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def function(x: torch.Tensor) -> torch.Tensor:
        return dropped(0.4, x).square()

    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))


def test_bf16_stays_bf16_under_autocast_and_without() -> None:
    x = torch.ones(64, 64, dtype=torch.bfloat16)
    plain = dropped(0.5, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = dropped(0.5, x)
        wide = dropped(0.5, x.float())
    assert plain.dtype == inside.dtype == torch.bfloat16 and torch.equal(plain, inside)
    assert wide.dtype == torch.float32 and torch.equal(wide, plain.float())


@pytest.mark.parametrize("layer", [Dropout(0.5).eval(), Dropout(0.0).train()])
def test_in_evaluation_or_without_dropout_nothing_happens_and_nothing_is_drawn(layer: nn.Module) -> None:
    x, state = torch.randn(10), torch.get_rng_state()
    assert layer(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_compiled_it_is_one_graph_with_the_same_share_and_scale() -> None:
    compiled = torch.compile(Dropout(0.25).train(), backend="eager", fullgraph=True)
    torch.manual_seed(0)
    x = torch.ones(200_000, requires_grad=True)
    out = compiled(x)
    out.sum().backward()
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert out.max().item() == pytest.approx(4 / 3)
    torch.testing.assert_close(x.grad, out.detach())


def test_it_says_its_probability() -> None:
    assert repr(Dropout(0.1)) == "Dropout(p=0.1)"
