import torch
from my_component import MyComponent

from lightning_tx.testing import conformance
from lightning_tx.testing.places import context, dims, site

test_conforms = conformance("feed_forward/my_component")


def test_it_is_its_formula_token_by_token() -> None:
    torch.manual_seed(0)
    layer = MyComponent(dims(), site("feed_forward"), bias=True).double()
    x = torch.randn(2, 5, dims().d_model, dtype=torch.float64)
    gate, up, down = ((part.weight, part.bias) for part in (layer.gate_proj, layer.up_proj, layer.down_proj))
    expected = torch.empty_like(x)
    for place in torch.cartesian_prod(torch.arange(2), torch.arange(5)):
        token = x[tuple(place)]
        hidden = torch.clamp(gate[0] @ token + gate[1], min=0) * (up[0] @ token + up[1])
        expected[tuple(place)] = down[0] @ hidden + down[1]
    torch.testing.assert_close(layer(x, context(5)).x, expected)
