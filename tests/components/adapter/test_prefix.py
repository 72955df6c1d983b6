import pytest
import torch

from lightning_tx.components.adapter.prefix import Prefix
from lightning_tx.core.errors import ConfigError
from lightning_tx.testing.places import context
from tests.components.adapter.models import TOKENS, adapted
from tests.model.configs import small_model


@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_keys_and_values_stand_before_those_of_the_tokens(num_kv_heads: int) -> None:
    """The naive formula: concatenate, mask what is later, softmax, sum."""
    parts = {"positions": "none", "attention": {"num_kv_heads": num_kv_heads}}
    attention = adapted(small_model(**parts), {"name": "prefix", "length": 3}).stack.layers[0].sublayers.self_attention
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q, k, v = (proj(x).unflatten(-1, (-1, 4)) for proj in (attention.q_proj, attention.k_proj, attention.v_proj))
    out = torch.empty(2, 5, 4, 4, dtype=torch.float64)
    for head in range(4):
        group = head * num_kv_heads // 4
        keys = torch.cat([attention.prefix_k[:, group].expand(2, -1, -1), k[:, :, group]], dim=1)
        values = torch.cat([attention.prefix_v[:, group].expand(2, -1, -1), v[:, :, group]], dim=1)
        for t in range(5):
            scores = (keys[:, : 3 + t + 1] @ q[:, t, head, :, None])[..., 0] / 2
            out[:, t, head] = (scores.softmax(-1)[..., None] * values[:, : 3 + t + 1]).sum(1)
    expected = attention.o_proj(out.flatten(2))
    torch.testing.assert_close(attention(x, context(5)).x, expected, rtol=0, atol=1e-12)


def test_where_it_stands() -> None:
    both = Prefix(length=5).apply(small_model("encoder_decoder"))
    cross = Prefix(length=5, sites=["cross_attention"]).apply(small_model("encoder_decoder"))
    for model, attentions in ((both, 6), (cross, 2)):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        assert [tuple(parameter.shape) for parameter in trained] == [(1, 4, 5, 4)] * 2 * attentions
    with pytest.raises(ConfigError, match=r"adapter.sites: 'cross_attention' .*self_attention"):
        Prefix(sites=["self_attention", "cross_attention"]).apply(small_model())
    with pytest.raises(ConfigError, match="prefix gives keys and values to attentions"):
        Prefix().apply(small_model(attention={"name": "none"}))
    with pytest.raises(ConfigError, match="prefix cannot be merged"):
        Prefix().merge(both)


def test_values_at_zero_only_take_a_share() -> None:
    model = Prefix(length=2).apply(small_model())
    assert not torch.allclose(model(TOKENS).x, small_model()(TOKENS).x)
