from typing import Any

import pytest
import torch
from torch import nn
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3RotaryEmbedding

from lightning_tx.components.attention.latent import LatentAttention
from lightning_tx.components.positions.rope import Rope
from lightning_tx.core.context import Memory
from lightning_tx.kernels.cache import Cache
from lightning_tx.testing.places import DIMS, context, site
from lightning_tx.testing.values import randomise
from tests.model.configs import small_model, tokens

B, T, D, H, K = 2, 6, DIMS.d_model, DIMS.num_heads, DIMS.head_dim
RANK, ROTARY, VALUE = 7, 6, 5


def latent(role: Any = "self_attention", q_rank: int | None = None) -> LatentAttention:
    place = site(role, make_norm=lambda width: nn.RMSNorm(width, eps=1e-6))
    layer = LatentAttention(DIMS, place, kv_rank=RANK, q_rank=q_rank, rope_head_dim=ROTARY, value_head_dim=VALUE)
    randomise(layer)
    return layer


@pytest.mark.parametrize("q_rank", [None, 9])
@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_it_is_the_attention_of_deepseek(q_rank: int | None, pairing: Any) -> None:
    layer, x, positions = latent(q_rank=q_rank), torch.randn(B, T, D), torch.arange(T)[None]
    config = DeepseekV3Config(
        hidden_size=D,
        num_attention_heads=H,
        num_key_value_heads=H,
        q_lora_rank=q_rank,
        kv_lora_rank=RANK,
        qk_rope_head_dim=ROTARY,
        qk_nope_head_dim=K,
        v_head_dim=VALUE,
        rope_interleave=pairing == "interleaved",
        attn_implementation="eager",
    )
    theirs = DeepseekV3Attention(config, layer_idx=0).eval()
    ours = layer.state_dict()
    queries = {"q_a_proj": "q_down_proj", "q_a_layernorm": "q_norm", "q_b_proj": "q_proj"} if q_rank else {}
    names = {"kv_a_proj_with_mqa": "kv_down_proj", "kv_a_layernorm": "kv_norm", "o_proj": "o_proj"}
    names |= queries or {"q_proj": "q_proj"}
    weights = {f"{their}.weight": ours[f"{our}.weight"] for their, our in names.items()}
    k, v = (ours[f"{name}_proj.weight"].unflatten(0, (H, -1)) for name in "kv")
    theirs.load_state_dict(weights | {"kv_b_proj.weight": torch.cat([k, v], dim=1).flatten(0, 1)})
    hidden = torch.full((T, T), float("-inf")).triu(1)[None, None]
    expected, _ = theirs(x, DeepseekV3RotaryEmbedding(config)(x, positions), hidden)
    rotate = Rope(DIMS, site("positions"), pairing=pairing).rotation(positions)
    torch.testing.assert_close(layer(x, context(T, rotate=rotate)).x, expected, rtol=1e-5, atol=1e-5)


def test_cross_attention_is_the_formula_without_rotation() -> None:
    layer, x, source = latent("cross_attention").double(), torch.randn(B, T, D).double(), torch.randn(B, 5, D).double()
    compressed, shared = layer.kv_down_proj(source).split([RANK, ROTARY], dim=-1)
    compressed = layer.kv_norm(compressed)
    heads = []
    for h in range(H):
        q = layer.q_proj(x).unflatten(-1, (H, -1))[:, :, h]
        k = torch.cat([layer.k_proj(compressed).unflatten(-1, (H, -1))[:, :, h], shared], dim=-1)
        v = layer.v_proj(compressed).unflatten(-1, (H, -1))[:, :, h]
        heads.append((q @ k.mT / (K + ROTARY) ** 0.5).softmax(dim=-1) @ v)
    expected = layer.o_proj(torch.cat(heads, dim=-1))
    found = layer(x, context(T, memory=Memory(source), rotate=lambda q: 2 * q)).x
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("positions", ["rope", "rope_yarn", "alibi", "learned", "none"])
def test_the_cache_holds_the_latent_and_one_key_alone(positions: str) -> None:
    model, ids, cache = small_model(positions=positions, attention={"name": "latent"}), tokens(B, T), Cache()
    expected = model(ids).x
    found = torch.cat([model(part, cache=cache).x for part in ids.split([3, 1, 2], dim=1)], dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    layers, bytes_each = 2, 8
    assert cache.num_bytes == layers * B * T * (2 * K + K // 2) * bytes_each
    grouped = Cache()
    small_model(attention={"num_kv_heads": 2})(ids, cache=grouped)
    assert cache.num_bytes < grouped.num_bytes == layers * B * T * (2 * 2 * K) * bytes_each


def test_its_widths_by_default_and_what_adapters_look_for() -> None:
    layer = LatentAttention(DIMS, site())
    shapes = {name: tuple(weight.shape) for name, weight in layer.named_parameters() if name.endswith("proj.weight")}
    assert shapes == {
        "q_proj.weight": (H * (K + 2), D),
        "kv_down_proj.weight": (2 * K + 2, D),
        "k_proj.weight": (H * K, 2 * K),
        "v_proj.weight": (H * K, 2 * K),
        "o_proj.weight": (D, H * K),
    }
    assert layer.kv_shape is not None
    assert (layer.kv_shape.num_heads, layer.kv_shape.key_width, layer.kv_shape.value_width) == (H, K + 2, K)
