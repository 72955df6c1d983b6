import torch
from my_component import MyComponent

from lightning_tx.testing import conformance

test_conforms = conformance("pattern/my_component")


def test_it_is_its_definition_pair_by_pair() -> None:
    pattern = MyComponent(window=5, step=2)
    positions = torch.arange(12)
    found = pattern(positions[:, None], positions[None, :])
    for i in range(12):
        seen = [j for j in range(12) if found[i, j]]
        assert seen == [j for j in (i - 4, i - 2, i, i + 2, i + 4) if 0 <= j < 12]
