import pytest
import torch

from lightning_tx.components.block.deepnorm import alpha_beta
from lightning_tx.model.build import build_model
from lightning_tx.testing.places import dims, site
from tests.model.configs import config


@pytest.mark.parametrize(
    ("stack", "encoder_layers", "decoder_layers", "alpha", "beta"),
    [
        ("encoder", 8, 0, 2.0, 64**-0.25),
        ("decoder", 0, 2, 2**0.5, 0.5),
        ("decoder", 6, 27, 3.0, 324**-0.25),
        ("encoder", 16, 1, 1.62, 0.435),  # (16^4)^(1/16) = 2
        ("encoder", 1, 1, 0.81, 0.87),
        ("encoder", 18, 18, 1.9988, 0.3526),
        ("decoder", 18, 18, 2.7108, 0.26085),
    ],
)
def test_the_table_of_the_paper(
    stack: str, encoder_layers: int, decoder_layers: int, alpha: float, beta: float
) -> None:
    sizes = dims(encoder_layers=encoder_layers, decoder_layers=decoder_layers)
    assert alpha_beta(sizes, site("block", stack=stack)) == pytest.approx((alpha, beta), rel=1e-4)


def test_values_outputs_and_feed_forward_start_smaller_by_beta() -> None:
    parts = {"attention": {"bias": True}, "feed_forward": "swiglu"}
    deep = build_model(config("encoder_decoder", block="deepnorm", **parts)).state_dict()
    plain = build_model(config("encoder_decoder", block="post_norm", **parts)).state_dict()
    assert deep.keys() == plain.keys()
    betas = {"encoder": 0.87 * 2 ** (-5 / 16), "decoder": 24**-0.25}  # of two layers each
    smaller = ("v_proj.weight", "o_proj.weight", "gate_proj.weight", "up_proj.weight", "down_proj.weight")
    assert sum(name.endswith(smaller) for name in deep) == 2 * (2 + 3) + 2 * (4 + 3)
    for name, value in deep.items():
        gain = betas[name.partition(".")[0]] if name.endswith(smaller) else 1.0
        torch.testing.assert_close(value, plain[name] * gain, rtol=1e-6, atol=0)
