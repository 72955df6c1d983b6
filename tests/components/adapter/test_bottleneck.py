import pytest
import torch
import torch.nn.functional as F

from lightning_tx.components.adapter.bottleneck import Bottleneck
from lightning_tx.components.block.post_norm import PostNorm
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.count import count_parameters
from lightning_tx.testing.places import context
from tests.components.adapter.models import adapted
from tests.model.configs import small_model


def test_it_is_a_network_inside_the_residual_branch() -> None:
    plain, model = small_model(block="post_norm"), small_model(block="post_norm")
    model = adapted(model, {"name": "bottleneck", "size": 3, "norms": False})
    theirs, ours = plain.stack.layers[0], model.stack.layers[0]
    assert isinstance(ours, PostNorm)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = x
    for role, sublayer in theirs.sublayers.items():
        out, own = sublayer(y, context(5)).x, ours.sublayers[role]
        inner = F.gelu(out @ own.adapter_down.weight.T + own.adapter_down.bias)
        y = theirs.norms[role](y + out + inner @ own.adapter_up.weight.T + own.adapter_up.bias)
    torch.testing.assert_close(ours(x, context(5)).x, y, rtol=0, atol=1e-12)


def test_its_size_is_that_of_the_paper() -> None:
    """2 m D + m + D behind each sublayer, and the norms."""
    for norms in (False, True):
        model = Bottleneck(size=3, norms=norms).apply(small_model())
        assert count_parameters(model).trainable == 4 * (2 * 3 * 16 + 3 + 16) + norms * (2 * 2 + 1) * 2 * 16


def test_where_it_stands() -> None:
    model = Bottleneck(sites=["feed_forward"], norms=False).apply(small_model())
    assert {name.split(".")[4] for name, each in model.named_parameters() if each.requires_grad} == {"feed_forward"}
    with pytest.raises(ConfigError, match=r"adapter.sites: 'cross_attention' .* feed_forward, self_attention"):
        Bottleneck(sites=["cross_attention"]).apply(small_model())
    with pytest.raises(ConfigError, match="bottleneck cannot be merged"):
        Bottleneck().merge(model)
