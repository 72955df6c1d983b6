import pytest
import torch
from torch import Tensor

from lightning_tx.kernels.merging import FUSED, HAS_FUSED, NOTHING, PLAIN, PieceKernel, merge

KERNELS = {"elementary": PLAIN} | ({"fused": FUSED} if HAS_FUSED else {})
S, CUT = 9, 4


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def masked() -> Tensor:
    """Added to the scores: query 1 sees nothing of the first piece, query 2 nothing at all."""
    added = numbers(1, 2, 5, S, seed=4)
    added[:, :, 1, :CUT] = added[:, :, 2] = float("-inf")
    return added


@pytest.mark.parametrize("added", [None, masked()], ids=["all", "masked"])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_merged_pieces_are_the_whole(kernel: PieceKernel, added: Tensor | None) -> None:
    q, k, v = numbers(3, 2, 5, 4, seed=0), numbers(3, 2, S, 4, seed=1), numbers(3, 2, S, 4, seed=2)
    leaves = [x.clone().requires_grad_(True) for x in (q, k, v)]
    scores = leaves[0] @ leaves[1].transpose(-1, -2) * 0.3 + (0.0 if added is None else added.clamp(min=-1e9))
    seen = torch.ones(5, 1) if added is None else torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])[:, None]
    expected = scores.softmax(dim=-1) @ leaves[2] * seen
    grad = numbers(3, 2, 5, 4, seed=3)
    expected_grads = torch.autograd.grad(expected, leaves, grad)

    cuts = [slice(0, CUT), slice(CUT, S)]
    pieces = [(keys, None if added is None else added[..., keys]) for keys in cuts]
    out, log_sum = torch.zeros_like(q), q.new_full((3, 2, 5, 1), NOTHING)
    for keys, own in pieces:
        merge(out, log_sum, *kernel.forward(q, k[:, :, keys], v[:, :, keys], own, 0.3))
    nowhere = log_sum < NOTHING / 2
    assert torch.equal(nowhere[0, 0], seen == 0)
    out, log_sum = out.masked_fill(nowhere, 0.0), log_sum.masked_fill(nowhere, 0.0)[..., 0]
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)

    shares = [kernel.backward(grad, q, k[:, :, keys], v[:, :, keys], out, log_sum, own, 0.3) for keys, own in pieces]
    q_grads, *sources = zip(*shares, strict=True)
    found = [sum(q_grads), *(torch.cat(parts, dim=2) for parts in sources)]
    for ours, theirs in zip(found, expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
