import torch
from my_component import ScaledLinear

import lightning_tx
from lightning_tx.testing import conformance

test_conforms = conformance("adapter/my_component")


def test_gains_are_as_good_as_scaled_rows() -> None:
    config = lightning_tx.compose(["model.d_model=16", "model.num_layers=1", "model.vocab_size=64"])
    base = lightning_tx.build_model(config)
    adapted = lightning_tx.build_model({**config, "adapter": {"name": "my_component"}})
    scaled = {name: module for name, module in adapted.named_modules() if isinstance(module, ScaledLinear)}
    assert len(scaled) == 2
    with torch.no_grad():
        for name, module in scaled.items():
            module.gain.copy_(torch.linspace(1, 2, len(module.gain)))
            base.get_submodule(name).weight.mul_(module.gain[:, None])
    tokens = torch.tensor([[1, 5, 9, 3]])
    torch.testing.assert_close(adapted(tokens).x, base(tokens).x)
