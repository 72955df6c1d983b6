import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3RotaryEmbedding

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.pattern.local import Local
from lightning_tx.components.positions.rope import Rope
from lightning_tx.core.context import Memory
from lightning_tx.core.errors import ConfigError
from lightning_tx.testing.places import DIMS, context, dims, site
from lightning_tx.testing.values import randomise

B, T, S, D, H, K = 2, 6, 5, DIMS.d_model, DIMS.num_heads, DIMS.head_dim
LEFT = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]).bool()
RIGHT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()


def attention(cross: bool = False, **options: Any) -> MultiHeadAttention:
    place = site("cross_attention" if cross else "self_attention")
    layer = MultiHeadAttention(DIMS, place, **options).double()
    randomise(layer)
    return layer


def states(length: int, seed: int = 0) -> Tensor:
    return torch.randn(B, length, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def torch_attention(layer: MultiHeadAttention, bias: bool) -> nn.MultiheadAttention:
    """PyTorch's own layer with the same weights."""
    reference = nn.MultiheadAttention(D, H, bias=bias, batch_first=True).double()
    weights = dict(layer.named_parameters())
    with torch.no_grad():
        for kind in ("weight", "bias")[: 1 + bias]:
            stacked = torch.cat([weights[f"{name}.{kind}"] for name in ("q_proj", "k_proj", "v_proj")])
            reference.get_parameter(f"in_proj_{kind}").copy_(stacked)
            reference.get_parameter(f"out_proj.{kind}").copy_(weights[f"o_proj.{kind}"])
    return reference


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("token_mask", [None, LEFT], ids=["full rows", "padding"])
def test_self_attention_is_that_of_torch(bias: bool, causal: bool, token_mask: Tensor | None) -> None:
    layer, x = attention(bias=bias), states(T)
    hidden = torch.ones(T, T).triu(1).bool() if causal else None
    padding = None if token_mask is None else ~token_mask
    expected, _ = torch_attention(layer, bias)(x, x, x, attn_mask=hidden, key_padding_mask=padding)
    found = layer(x, context(T, causal=causal, token_mask=token_mask)).x
    real = LEFT if token_mask is not None else torch.ones(B, T).bool()
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("token_mask", [None, RIGHT], ids=["full rows", "padding"])
def test_cross_attention_is_that_of_torch(bias: bool, token_mask: Tensor | None) -> None:
    layer, x, source = attention(cross=True, bias=bias), states(T), states(S, seed=1)
    padding = None if token_mask is None else ~token_mask
    expected, _ = torch_attention(layer, bias)(x, source, source, key_padding_mask=padding)
    found = layer(x, context(T, memory=Memory(source, token_mask))).x
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4, None])
def test_groups_of_heads_share_keys_and_values(num_kv_heads: int | None) -> None:
    layer, x = attention(num_kv_heads=num_kv_heads), states(T)
    groups = num_kv_heads or H
    weights = {name.partition("_")[0]: parameter for name, parameter in layer.named_parameters()}
    assert weights["k"].shape == weights["v"].shape == (groups * K, D)
    expected = torch.zeros(B, T, D, dtype=torch.float64)
    for h in range(H):
        group = h // (H // groups)
        q = x @ weights["q"][h * K : (h + 1) * K].T
        k = x @ weights["k"][group * K : (group + 1) * K].T
        v = x @ weights["v"][group * K : (group + 1) * K].T
        scores = (q @ k.mT / math.sqrt(K)).masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
        expected += scores.softmax(dim=-1) @ v @ weights["o"][:, h * K : (h + 1) * K].T
    torch.testing.assert_close(layer(x, context(T)).x, expected, rtol=0, atol=1e-12)


def test_positions_turn_queries_and_keys_but_not_values_nor_cross_attention() -> None:
    x, source = states(T), states(S, seed=1)
    turned, plain = context(T, rotate=lambda q: 2 * q), context(T)
    layer = attention()
    doubled = attention()
    with torch.no_grad():
        doubled.q_proj.weight *= 2
        doubled.k_proj.weight *= 2
    torch.testing.assert_close(layer(x, turned).x, doubled(x, plain).x, rtol=0, atol=1e-12)
    cross, memory = attention(cross=True), Memory(source)
    turned, plain = context(T, rotate=lambda q: 2 * q, memory=memory), context(T, memory=memory)
    assert torch.equal(cross(x, turned).x, cross(x, plain).x)


def test_bias_and_pattern_act_on_self_attention_alone() -> None:
    x, memory = states(T), Memory(states(S, seed=1))

    def to_itself(q: Tensor, k: Tensor) -> Tensor:
        return torch.where(q == k, 0.0, -1e9).double()[:, None]

    layer = attention()
    expected = layer.o_proj(layer.v_proj(x))
    torch.testing.assert_close(layer(x, context(T, bias=to_itself)).x, expected, rtol=0, atol=1e-12)
    narrow = MultiHeadAttention(DIMS, site(pattern=Local(window=1))).double()
    narrow.load_state_dict(layer.state_dict())
    torch.testing.assert_close(narrow(x, context(T)).x, expected, rtol=0, atol=1e-12)
    cross = attention(cross=True)
    biased, plain = context(T, bias=to_itself, memory=memory), context(T, memory=memory)
    assert torch.equal(cross(x, biased).x, cross(x, plain).x)


def test_dropout_acts_in_training_alone() -> None:
    layer, x = attention(dropout=0.5), states(T)
    without = attention()(x, context(T)).x
    assert not torch.allclose(layer.train()(x, context(T)).x, without)
    assert torch.equal(layer.eval()(x, context(T)).x, without)


@pytest.mark.parametrize("cross", [False, True])
def test_queries_and_keys_are_normed_head_by_head_before_they_turn(cross: bool) -> None:
    """As in Qwen 3, where a head is also wider than its share of d_model and keys are shared."""
    wide, groups = 10, 2
    place = site("cross_attention" if cross else "self_attention", make_norm=lambda k: nn.RMSNorm(k, eps=1e-6))
    layer = MultiHeadAttention(dims(head_dim=wide), place, num_kv_heads=groups, qk_norm=True)
    randomise(layer)
    config = Qwen3Config(
        hidden_size=D, num_attention_heads=H, num_key_value_heads=groups, head_dim=wide, attn_implementation="eager"
    )
    theirs = Qwen3Attention(config, layer_idx=0).eval()
    theirs.load_state_dict(layer.state_dict())
    x, positions = states(T).float(), torch.arange(T)[None]
    if cross:  # to itself, without mask or rotation
        expected, _ = theirs(x, (torch.ones(1, T, wide), torch.zeros(1, T, wide)), None)
        found = layer(x, context(T, memory=Memory(x), rotate=lambda q: 2 * q)).x
    else:
        hidden = torch.full((T, T), -math.inf).triu(1)[None, None]
        expected, _ = theirs(x, Qwen3RotaryEmbedding(config)(x, positions), hidden)
        rotate = Rope(dims(head_dim=wide), site("positions")).rotation(positions)
        found = layer(x, context(T, rotate=rotate)).x
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("bias", "output_bias", "expected"), [(True, False, "qkv"), (False, True, "o")])
def test_the_output_may_differ_in_having_a_bias(bias: bool, output_bias: bool, expected: str) -> None:
    names = dict(attention(bias=bias, output_bias=output_bias).named_parameters())
    assert "".join(name[0] for name in names if name.endswith("bias")) == expected


@pytest.mark.parametrize("num_kv_heads", [3, 8])
def test_groups_must_divide_the_heads(num_kv_heads: int) -> None:
    with pytest.raises(ConfigError) as raised:
        attention(num_kv_heads=num_kv_heads)
    (problem,) = raised.value.problems
    assert problem.startswith(f"attention.num_kv_heads: {num_kv_heads} ")
    assert "1, 2, 4" in problem
