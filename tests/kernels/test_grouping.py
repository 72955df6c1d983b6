import torch

from lightning_tx.kernels.grouping import Grouping

#: Two choices each of five tokens; 3 is no group.
GROUPS = torch.tensor([[2, 0], [0, 3], [3, 3], [1, 2], [0, 1]])


def test_rows_are_sorted_by_group_and_token() -> None:
    grouping = Grouping.of(GROUPS, 3)
    assert grouping.counts_E.tolist() == [3, 2, 2]
    tokens = torch.arange(5.0)[:, None]
    assert grouping.spread(tokens)[:, 0].tolist() == [0, 1, 4, 3, 4, 0, 3, 1, 2, 2]
    assert grouping.places_R[grouping.order_R].tolist() == list(range(10))


def test_spread_and_combine_are_what_indexing_does() -> None:
    grouping = Grouping.of(GROUPS, 3)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    weights = torch.rand(5, 2, generator=generator, dtype=torch.float64).requires_grad_()
    rows = grouping.spread(x)
    assert torch.equal(rows, x[grouping.order_R // 2])
    expected = (rows[grouping.places_R].view(5, 2, 4) * weights[..., None]).sum(1)
    torch.testing.assert_close(grouping.combine(rows, weights), expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(expected, x * weights.sum(1, keepdim=True), rtol=0, atol=1e-15)


def test_their_gradients() -> None:
    grouping = Grouping.of(GROUPS, 3)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(10, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(5, 2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(grouping.spread, (x,))
    torch.autograd.gradcheck(grouping.combine, (rows, weights))
    torch.autograd.gradgradcheck(grouping.combine, (rows, weights))
