import torch
from my_component import MyComponent
from torch import nn

from lightning_tx.testing import conformance

test_conforms = conformance("optimizer/my_component")


def test_it_is_its_formula_step_by_step() -> None:
    model = nn.Linear(3, 1, bias=False).double()
    optimizer = MyComponent(model, momentum=0.5, weight_decay=0.1)
    weight, velocity = model.weight.detach().clone(), torch.zeros(1, 3, dtype=torch.float64)
    for _ in range(3):
        optimizer.zero_grad()
        model.weight.pow(2).sum().backward()
        optimizer.step()
        gradient = 2 * weight + 0.1 * weight
        velocity = 0.5 * velocity + gradient
        weight = weight - (gradient + 0.5 * velocity)
    torch.testing.assert_close(model.weight.detach(), weight)
