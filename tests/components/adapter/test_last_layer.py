import pytest
import torch

from lightning_tx.components.adapter.last_layer import LastLayer
from lightning_tx.core.errors import ConfigError
from tests.components.adapter.models import gradients
from tests.model.configs import small_model

UNTIED = {"tie_embeddings": False}


@pytest.mark.parametrize(
    ("topology", "options", "trained"),
    [
        ("decoder", {}, ["stack.layers.1.", "stack.final_norm."]),
        ("encoder_decoder", {"final_norm": False}, ["decoder.layers.1."]),
        ("decoder", {"num_layers": 0, "final_norm": False, "head": True}, ["lm_head."]),
        ("decoder", {"num_layers": 2, "head": True}, ["stack.layers.", "stack.final_norm.", "lm_head."]),
    ],
)
def test_it_is_training_with_the_rest_frozen(topology, options, trained) -> None:
    model = LastLayer(**options).apply(small_model(topology, sizes=UNTIED))
    reference = small_model(topology, sizes=UNTIED)
    for name, parameter in reference.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(trained)))
    if topology == "decoder":
        found, expected = gradients(model), gradients(reference)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
    names = {name for name, parameter in reference.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == names


def test_what_cannot_be_trained_is_refused_with_every_problem() -> None:
    with pytest.raises(ConfigError) as raised:
        LastLayer(num_layers=3, head=True).apply(small_model())
    assert [problem.partition(":")[0] for problem in raised.value.problems] == ["adapter.num_layers", "adapter.head"]
    with pytest.raises(ConfigError, match="nothing to train"):
        LastLayer(num_layers=0).apply(small_model(block="post_norm"))
