from typing import Any

import pytest
import torch
from torch import nn
from transformers import Qwen3NextConfig
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

from lightning_tx.components.attention.gated_deltanet import GatedDeltaNet
from lightning_tx.components.pattern.full import Full
from lightning_tx.components.pattern.local import Local
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.build import build_model
from lightning_tx.testing.baseline import BASELINE
from lightning_tx.testing.places import DIMS, context, site
from lightning_tx.testing.values import randomise
from tests.model.configs import small_model, tokens

B, T, D, H, K = 2, 150, DIMS.d_model, DIMS.num_heads, DIMS.head_dim


@pytest.mark.parametrize("value", [K, 6])
def test_it_is_the_layer_of_qwen(value: int) -> None:
    layer = GatedDeltaNet(DIMS, site(make_norm=lambda width: nn.RMSNorm(width, eps=1e-6)), value_head_dim=value)
    randomise(layer)
    config = Qwen3NextConfig(
        hidden_size=D,
        linear_num_key_heads=H,
        linear_num_value_heads=H,
        linear_key_head_dim=K,
        linear_value_head_dim=value,
        linear_conv_kernel_dim=4,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    theirs = Qwen3NextGatedDeltaNet(config, layer_idx=0).eval()
    ours = layer.state_dict()
    # Theirs lie head by head: query, key, value, gate of the first, then those of the next.
    heads = [ours[f"{name}_proj.weight"].unflatten(0, (H, -1)) for name in ("q", "k", "v", "gate")]
    rates = [ours[f"{name}_proj.weight"].unflatten(0, (H, -1)) for name in ("rate", "decay")]
    theirs.load_state_dict(
        {
            "in_proj_qkvz.weight": torch.cat(heads, dim=1).flatten(0, 1),
            "in_proj_ba.weight": torch.cat(rates, dim=1).flatten(0, 1),
            "conv1d.weight": ours["convolution.weight"].flip(0).T[:, None],
            "dt_bias": ours["decay_bias"],
            "A_log": ours["decay_log"],
            "norm.weight": ours["norm.weight"],
            "out_proj.weight": ours["o_proj.weight"],
        }
    )
    x = torch.randn(B, T, D, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(x, context(T)).x, theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"role": "cross_attention"}, "cannot read an encoder's.* causal stack"),
        ({"causal": False, "stack": "encoder"}, "cannot see both ways"),
        ({"pattern": Local(window=4)}, "pattern.name: .* Choices: full"),
    ],
)
def test_where_it_cannot_stand(place: dict[str, Any], message: str) -> None:
    GatedDeltaNet(DIMS, site(pattern=Full()))
    with pytest.raises(ConfigError, match=message):
        GatedDeltaNet(DIMS, site(**place))


def test_a_cache_holds_as_much_whatever_the_length() -> None:
    model, cache, sizes = small_model(attention={"name": "gated_deltanet"}), Cache(), []
    ids = tokens(2, 30)
    with torch.no_grad():
        for step in ids.split([5, 1, 24], dim=1):
            model.advance(step, token_mask_BT=None, cache=cache, memory=None)
            sizes.append(cache.num_bytes)
    assert len(set(sizes)) == 1
    layers, heads = len(model.stack.layers), 4
    assert sizes[0] == layers * 2 * 8 * (heads * 4 * 4 + 3 * 3 * 16)


def test_heads_forget_at_different_speed_at_first() -> None:
    sizes = {"name": "decoder", "num_layers": 1, "d_model": 64, "num_heads": 32}
    model = build_model({**BASELINE, "model": sizes, "attention": {"name": "gated_deltanet"}}, vocab_size=10)
    layer: Any = model.get_submodule("stack.layers.0.sublayers.self_attention")
    rates, steps = layer.decay_log.exp(), nn.functional.softplus(layer.decay_bias)
    assert 1 <= rates.min() < 3 and 8 < rates.max() <= 16
    assert 0.0009 < steps.min() < 0.004 and 0.03 < steps.max() < 0.1
