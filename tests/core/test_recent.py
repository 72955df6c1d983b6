"""What tokens are told of those just before them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.core.context import Context
from lightning_tx.core.short_convolution import ShortConvolution
from lightning_tx.kernels.cache import Cache
from lightning_tx.kernels.masks import Mask
from lightning_tx.testing.places import context, site
from lightning_tx.testing.values import randomise

B, T, D = 2, 9, 3
DOCUMENTS = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2], [5, 6, 6, 6, 6, 6, 7, 7, 7]])
REAL = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1, 1]], dtype=torch.bool)


def told(
    documents: Tensor | None, real: Tensor | None, new: slice = slice(None), cache: Cache | None = None
) -> Context:
    """A context of some of the tokens, those before them in the cache."""
    upto = slice(0, new.stop)
    at = torch.arange(T)[None]

    def rows(held: Tensor | None, some: slice) -> Tensor | None:
        return None if held is None else held[:, some]

    mask = Mask(
        q_positions=at[:, new],
        k_positions=at[:, upto],
        causal=True,
        q_documents=rows(documents, new),
        k_documents=rows(documents, upto),
        k_token_mask=rows(real, upto),
    )
    return Context(mask=mask, rotate=lambda x: x, bias=lambda q, k: None, token_mask_BT=rows(real, new), cache=cache)


def alone(layer: ShortConvolution, x_TD: Tensor) -> Tensor:
    """torch's convolution of one document without padding."""
    weight = layer.weight.flip(0).T[:, None]
    return F.conv1d(F.pad(x_TD.T[None], (layer.width - 1, 0)), weight, groups=D)[0].T


@pytest.mark.parametrize("width", [1, 2, 4, 12])
@pytest.mark.parametrize("documents", [None, DOCUMENTS])
@pytest.mark.parametrize("real", [None, REAL])
def test_a_convolution_stays_in_its_document(width: int, documents: Tensor | None, real: Tensor | None) -> None:
    layer = ShortConvolution(site(), D, width)
    randomise(layer.double())
    x = torch.randn(B, T, D, dtype=torch.float64)
    cache, steps = Cache(), [slice(0, 1), slice(1, 6), slice(6, 7), slice(7, T)]
    found = {
        "at once": layer(x, told(documents, real)),
        "cached": torch.cat([layer(x[:, step], told(documents, real, step, cache)) for step in steps], dim=1),
    }
    for row in range(B):
        own = torch.zeros(T, dtype=torch.long) if documents is None else documents[row]
        for document in own.unique():
            here = own == document
            if real is not None:
                here = here & real[row]
            if not here.any():
                continue  # nothing but padding
            for states in found.values():
                torch.testing.assert_close(states[row, here], alone(layer, x[row, here]), rtol=0, atol=1e-12)


def test_a_cache_holds_the_window_alone() -> None:
    cache, x = Cache(), torch.randn(B, T, D)
    for step in (slice(0, 1), slice(1, 8), slice(8, T)):
        told(None, None, step, cache).recent(site(), x[:, step], 2)
    assert cache.num_bytes == B * 2 * D * 4


def test_two_uses_of_one_layer_and_rows_that_are_chosen() -> None:
    cache, x = Cache(), torch.randn(B, T, D)
    first = told(None, None, slice(0, 4), cache)
    first.recent(site(), x[:, :4], 1, name="one")
    first.recent(site(), -x[:, :4], 1, name="two")
    cache.select(torch.tensor([1]))
    then = told(None, None, slice(4, 5), cache)
    (one,), (two,) = (then.recent(site(), x[1:, 4:5], 1, name=name) for name in ("one", "two"))
    torch.testing.assert_close(one[0, 0], x[1, 3], rtol=0, atol=0)
    torch.testing.assert_close(two[0, 0], -x[1, 3], rtol=0, atol=0)


def test_a_state_is_there_with_a_cache_only() -> None:
    without = context(2)
    without.keep(site(), "state", torch.ones(1))
    assert without.state(site(), "state") is None
