import torch
from my_component import MyComponent

import lightning_tx
from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.testing import conformance

test_conforms = conformance("task/my_component")


def test_its_loss_is_its_formula_place_by_place() -> None:
    config = lightning_tx.compose(["model.d_model=16", "model.num_layers=1", "model.vocab_size=64"])
    model = lightning_tx.build_model(config).double()
    batch = Batch(torch.tensor([[1, 5, 9, 3]]), torch.tensor([[5, 9, IGNORE, 7]]))
    expected = 0
    for scores, target in zip(model.head.logits(model(batch.tokens_BT).x)[0], batch.targets_BT[0], strict=True):
        if target != IGNORE:
            log_z = scores.exp().sum().log()
            expected += log_z - scores[target] + 0.1 * log_z**2
    torch.testing.assert_close(MyComponent(weight=0.1).loss(model, batch).total(), expected)
