import torch
from my_component import MyComponent

from lightning_tx.testing import conformance

test_conforms = conformance("norm/my_component")


def test_it_is_its_formula_number_by_number() -> None:
    torch.manual_seed(0)
    norm = MyComponent(6, eps=0.5).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 6, dtype=torch.float64)
    gains = norm.weight.tolist()
    expected = [
        [value / (sum(map(abs, row)) / 6 + 0.5) * gain for value, gain in zip(row, gains, strict=True)]
        for row in x.tolist()
    ]
    torch.testing.assert_close(norm(x), torch.tensor(expected, dtype=torch.float64))
