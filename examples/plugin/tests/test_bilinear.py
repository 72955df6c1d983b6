import torch
from ltx_brackets.bilinear import Bilinear

from lightning_tx.testing import conformance
from lightning_tx.testing.places import context, dims, site

test_conforms = conformance("feed_forward/bilinear")


def test_it_is_its_formula_token_by_token() -> None:
    torch.manual_seed(0)
    layer = Bilinear(dims(), site("feed_forward")).double()
    gate, up, down = layer.gate_proj.weight, layer.up_proj.weight, layer.down_proj.weight
    x = torch.randn(1, 5, dims().d_model, dtype=torch.float64)
    expected = [down @ ((gate @ token) * (up @ token)) for token in x[0]]
    torch.testing.assert_close(layer(x, context(5)).x[0], torch.stack(expected))
