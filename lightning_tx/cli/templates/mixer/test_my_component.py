import torch
from my_component import MyComponent

from lightning_tx.testing import conformance
from lightning_tx.testing.places import context, dims, site
from lightning_tx.testing.values import randomise

test_conforms = conformance("attention/my_component")


def test_it_is_a_weighted_sum_of_the_values_so_far() -> None:
    layer = MyComponent(dims(d_model=6), site("self_attention"), bias=True).double()
    randomise(layer)
    x = torch.randn(1, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v, a = layer.v_proj(x)[0], layer.decay.sigmoid()
    means = torch.stack([sum((1 - a) * a ** (t - s) * v[s] for s in range(t + 1)) for t in range(5)])
    torch.testing.assert_close(layer(x, context(5)).x[0], layer.o_proj(means))
