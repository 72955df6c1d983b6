import torch
from my_component import MyComponentEvaluator

import lightning_tx
from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.testing import conformance

test_conforms = conformance("task/my_component")


def test_it_counts_what_is_right() -> None:
    config = lightning_tx.compose(["model.d_model=16", "model.num_layers=1", "model.vocab_size=64"])
    model = lightning_tx.build_model(config).eval()
    tokens = torch.tensor([[1, 5, 9, 3]])
    best = model.head.logits(model(tokens).x)[0].argmax(dim=-1).tolist()
    evaluator = MyComponentEvaluator(num_bytes=3)
    evaluator.update(model, Batch(tokens, torch.tensor([[best[0], best[1] - 1, IGNORE, best[3]]])))
    evaluator.update(model, Batch(tokens, torch.tensor([[IGNORE, IGNORE, best[2] + 1, IGNORE]])))
    assert evaluator.compute()["my_component"] == 2 / 4
