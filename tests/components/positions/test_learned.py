import torch

from lightning_tx.components.positions.learned import Learned
from lightning_tx.testing.places import dims, site


def test_the_vector_of_each_position_is_added() -> None:
    component = Learned(dims(max_seq_len=8), site("positions"))
    x = torch.randn(2, 3, 16)
    positions = torch.tensor([[0, 1, 2], [7, 0, 0]])
    found = component.embed(x, positions)
    for b in range(2):
        for t in range(3):
            assert torch.equal(found[b, t], x[b, t] + component.embedding.weight[positions[b, t]])
