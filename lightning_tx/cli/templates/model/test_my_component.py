import torch
from my_component import MyComponent

from lightning_tx.model.parts import Parts
from lightning_tx.model.sizes import Sizes
from lightning_tx.testing import conformance

test_conforms = conformance("model/my_component")


def test_its_states_are_its_formula_token_by_token() -> None:
    parts: Parts = None  # type: ignore[assignment]
    model = MyComponent(parts, Sizes(vocab_size=9), d_model=4, num_layers=2).double()
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    expected = list(model.token_embedding(tokens[0]))
    for layer in model.layers:
        nothing = torch.zeros(4, dtype=torch.float64)
        pairs = zip(expected, [nothing, *expected[:-1]], strict=True)
        expected = [x + torch.tanh(layer.weight @ torch.cat([x, before]) + layer.bias) for x, before in pairs]
    torch.testing.assert_close(model(tokens).x[0], torch.stack(expected))
