import torch
from my_component import MyComponent
from torch import nn

from lightning_tx.core.context import Output, Sublayer
from lightning_tx.testing import conformance
from lightning_tx.testing.places import context, dims, site

test_conforms = conformance("block/my_component")


class Cube(Sublayer):
    def forward(self, x, ctx):
        return Output(x**3)


def test_it_is_its_formula_sublayer_by_sublayer() -> None:
    sublayers = {"self_attention": Cube(), "feed_forward": Cube()}
    block = MyComponent(dims(), site("block"), sublayers, nn.LayerNorm, share=0.36).double()
    x = torch.randn(2, 5, dims().d_model, dtype=torch.float64)
    expected = x
    for _ in sublayers:
        centred = expected - expected.mean(dim=-1, keepdim=True)
        normed = centred / (centred.pow(2).mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        expected = 0.8 * expected + 0.6 * normed**3
    torch.testing.assert_close(block(x, context(5)).x, expected)
