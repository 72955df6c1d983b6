import pytest
import torch
from torch import Tensor, nn

from lightning_tx.components.pattern.local import Local
from lightning_tx.components.positions.fire import Fire
from lightning_tx.core.schemes import Constant
from lightning_tx.kernels.attend import attend, kernel_for
from lightning_tx.kernels.masks import Mask
from lightning_tx.testing.places import DIMS, dims, site
from lightning_tx.testing.values import randomise

H = DIMS.num_heads


def component(**options: float) -> Fire:
    made = Fire(DIMS, site("positions"), **options).double()  # pyright: ignore[reportArgumentType]
    randomise(made)
    return made


def by_the_paper(c: float, threshold: float, network: nn.Module, i: int, j: int) -> Tensor:
    """Equation 3 of the paper for one pair."""
    wide = [torch.tensor(float(x), dtype=torch.float64) for x in (abs(i - j), max(i, j, threshold))]
    distance, position = ((c * x + 1).log() for x in wide)
    return network((distance / position)[None])


def test_the_bias_is_a_function_of_the_distance_over_the_position() -> None:
    made = component(threshold=6.0)
    c, threshold = made.scale.item(), 6 * made.threshold_gain.item()
    q, k = torch.tensor([[3, 40]])[:, :, None], torch.tensor([[0, 3, 39]])[:, None, :]
    found = made.bias(q, k)
    assert found.shape == (1, H, 2, 3)
    network = nn.Sequential(made.hidden, nn.ReLU(), made.heads)
    for t, i in enumerate((3, 40)):
        for s, j in enumerate((0, 3, 39)):
            expected = by_the_paper(c, threshold, network, i, j)
            torch.testing.assert_close(found[0, :, t, s], expected, rtol=1e-12, atol=1e-12)


def test_where_it_starts() -> None:
    made = Fire(dims(max_seq_len=2048), site("positions"), scale=0.3)
    assert made.threshold == 512
    assert made.initial == {"scale": Constant(0.3), "threshold_gain": Constant(1.0)}


@pytest.mark.parametrize("causal", [True, False])
def test_the_sparse_kernels_add_the_same_at_every_place(causal: bool) -> None:
    """A block's own positions count, not those of the first block: against the dense softmax at 2,048 tokens."""
    length, made = 2048, component()
    at = torch.arange(length)[None]
    mask = Mask(q_positions=at, k_positions=at, causal=causal, in_order=True).within(Local(window=64))
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, H, length, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    options = {"bias": made.bias, "bias_is_relative": made.bias_is_relative}
    with torch.no_grad():
        scores = q @ k.mT / 2 + made.bias(at[:, :, None], at[:, None])
        expected = scores.masked_fill(~mask.dense(), -torch.inf).softmax(dim=-1) @ v
        assert kernel_for(q, k, v, mask, bias=made.bias) == "sparse_fused"
        torch.testing.assert_close(attend(q, k, v, mask, **options), expected, rtol=0, atol=1e-9)
    assert kernel_for(q, k, v, mask, bias=made.bias) == "sparse"
    torch.testing.assert_close(attend(q, k, v, mask, **options), expected, rtol=0, atol=1e-9)
