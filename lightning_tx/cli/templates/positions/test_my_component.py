import math

import torch
from my_component import MyComponent

from lightning_tx.testing import conformance
from lightning_tx.testing.places import dims, site

test_conforms = conformance("positions/my_component")


def test_it_is_its_formula_pair_by_pair() -> None:
    torch.manual_seed(0)
    positions = MyComponent(dims(num_heads=3), site("positions")).double()
    torch.nn.init.normal_(positions.log_slope)
    q, k = torch.tensor([4, 7]), torch.tensor([0, 4, 9])
    expected = [
        [[-math.exp(slope) * math.log(1 + abs(i - j)) for j in k.tolist()] for i in q.tolist()]
        for slope in positions.log_slope.tolist()
    ]
    found = positions.bias(q[None, :, None], k[None, None, :])
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64))
