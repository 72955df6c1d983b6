import torch
from my_component import MyComponent

from lightning_tx.testing import conformance

test_conforms = conformance("pattern/my_component")


def test_it_is_its_definition_pair_by_pair() -> None:
    pattern = MyComponent(window=3, sinks=2)
    positions = torch.arange(9)
    found = pattern(positions[:, None], positions[None, :])
    for i in range(9):
        for j in range(9):
            assert found[i, j] == (i in range(j - 2, j + 3) or i in (0, 1) or j in (0, 1)), (i, j)
