"""What any attention may have around its softmax, against the layers of transformers that have it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Gemma2Config, GptOssConfig, Qwen3NextConfig
from transformers.models.gemma2.modeling_gemma2 import Gemma2Attention
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssAttention
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextAttention

from lightning_tx.components.attention.latent import LatentAttention
from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.pattern.local import Local
from lightning_tx.core.context import Context
from lightning_tx.core.schemes import Constant
from lightning_tx.testing.places import DIMS, context, dims, site
from lightning_tx.testing.values import randomise

B, T, D, H, G, K = 2, 12, DIMS.d_model, DIMS.num_heads, 2, 10
SIZES: dict[str, Any] = {
    "hidden_size": D,
    "num_attention_heads": H,
    "num_key_value_heads": G,
    "head_dim": K,
    "attn_implementation": "eager",
}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def ours(**options: Any) -> MultiHeadAttention:
    make_norm = options.pop("make_norm", nn.LayerNorm)
    place = site(make_norm=make_norm, pattern=options.pop("pattern", None))
    layer = MultiHeadAttention(dims(head_dim=K), place, num_kv_heads=G, **options)
    randomise(layer, std=1.0)
    return layer.eval()


def states() -> Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(0))


def hidden(window: int = T) -> Tensor:
    """What transformers adds to the scores of a causal layer."""
    at = torch.arange(T)
    distance = at[:, None] - at
    return torch.zeros(T, T).masked_fill((distance < 0) | (distance >= window), -math.inf)[None, None]


def angles() -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotations that do nothing."""
    return torch.ones(1, T, K), torch.zeros(1, T, K)


@pytest.mark.parametrize("window", [T, 4])
def test_the_cap_is_that_of_gemma_2(window: int) -> None:
    layer = ours(logit_cap=2.0, pattern=Local(window=window))
    layer.scale = 24**-0.5
    config = Gemma2Config(**SIZES, attn_logit_softcapping=2.0, query_pre_attn_scalar=24)
    theirs = Gemma2Attention(config, layer_idx=0).eval()
    theirs.load_state_dict(layer.state_dict())
    expected, _ = theirs(states(), angles(), hidden(window))
    torch.testing.assert_close(layer(states(), context(T)).x, expected, **CLOSE)
    layer.logit_cap = None
    assert (layer(states(), context(T)).x - expected).abs().max() > 0.1


@pytest.mark.parametrize("window", [T, 4])
def test_sinks_are_those_of_gpt_oss(window: int) -> None:
    layer = ours(sinks=True, bias=True, pattern=Local(window=window))
    theirs = GptOssAttention(GptOssConfig(**SIZES, attention_bias=True), layer_idx=0).eval()
    theirs.load_state_dict(layer.state_dict())
    cos, sin = (x[..., : K // 2] for x in angles())
    expected, _ = theirs(states(), (cos, sin), hidden(window))
    torch.testing.assert_close(layer(states(), context(T)).x, expected, **CLOSE)


def test_the_gate_is_that_of_qwen3_next() -> None:
    layer = ours(output_gate="elementwise", qk_norm=True, make_norm=lambda k: nn.RMSNorm(k, eps=1e-6))
    theirs = Qwen3NextAttention(Qwen3NextConfig(**SIZES), layer_idx=0).eval()
    held = dict(layer.state_dict())
    gate, q = held.pop("output_gate.weight").view(H, K, D), held["q_proj.weight"].view(H, K, D)
    held["q_proj.weight"] = torch.cat([q, gate], dim=1).flatten(0, 1)
    for name in ("q_norm.weight", "k_norm.weight"):  # theirs are what is above 1
        held[name] = held[name] - 1
    theirs.load_state_dict(held)
    expected, _ = theirs(states(), angles(), hidden())
    torch.testing.assert_close(layer(states(), context(T)).x, expected, **CLOSE)


def test_a_gate_may_be_one_number_a_head() -> None:
    layer = ours(output_gate="headwise")
    without = MultiHeadAttention(dims(head_dim=K), site(), num_kv_heads=G)
    weights = layer.state_dict()
    gate = (states() @ weights.pop("output_gate.weight").T).sigmoid()
    without.load_state_dict(weights)
    without.o_proj = nn.Identity()
    heads = without(states(), context(T)).x.unflatten(-1, (H, K))
    expected = (heads * gate[..., None]).flatten(2) @ weights["o_proj.weight"].T
    torch.testing.assert_close(layer(states(), context(T)).x, expected, **CLOSE)


def test_a_gate_is_as_wide_as_the_values() -> None:
    layer = LatentAttention(DIMS, site(), value_head_dim=6, output_gate="elementwise")
    assert layer.output_gate is not None
    assert layer(states(), context(T)).x.shape == (B, T, D)
    assert next(layer.output_gate.parameters()).shape == (H * 6, D)


def test_a_sink_starts_at_the_score_of_a_key_that_is_orthogonal_to_the_query() -> None:
    assert MultiHeadAttention(DIMS, site(), sinks=True).initial == {"sinks": Constant(0.0)}


def test_at_their_defaults_there_is_nothing_of_them() -> None:
    assert MultiHeadAttention(DIMS, site()).scores() is None
    names = {name.partition(".")[0] for name, _ in MultiHeadAttention(DIMS, site()).named_parameters()}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj"}


@pytest.mark.parametrize("options", [{"sinks": True}, {"logit_cap": 2.0}])
def test_dropout_acts_in_training_alone(options: dict[str, Any]) -> None:
    layer = ours(dropout=0.5, **options)
    expected = layer(states(), context(T)).x
    assert not torch.allclose(layer.train()(states(), context(T)).x, expected)
    assert torch.equal(layer.eval()(states(), context(T)).x, expected)


def test_a_component_may_say_what_happens_to_its_scores() -> None:
    """Talking heads before the softmax: Shazeer et al. 2020, arXiv:2003.02436, section 3."""
    from lightning_tx.kernels.scores import Scores

    class Talking(MultiHeadAttention):
        def __init__(self) -> None:
            super().__init__(DIMS, site())
            self.mix_HH = nn.Parameter(torch.empty(H, H))

        def scores(self) -> Scores:
            return Scores(lambda scores, mix: torch.einsum("hg,...gts->...hts", mix, scores), (self.mix_HH,))

    layer, x = Talking().double(), states().double()
    randomise(layer)
    ctx: Context = context(T)
    q, k, v = (proj(x).unflatten(-1, (H, -1)).transpose(1, 2) for proj in (layer.q_proj, layer.k_proj, layer.v_proj))
    scores = torch.einsum("hg,bgts->bhts", layer.mix_HH, q @ k.mT / DIMS.head_dim**0.5) + hidden()
    expected = layer.o_proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, ctx).x, expected, rtol=0, atol=1e-12)
    ours_, theirs = (torch.autograd.grad(out.sin().sum(), layer.mix_HH)[0] for out in (layer(x, ctx).x, expected))
    torch.testing.assert_close(ours_, theirs, rtol=0, atol=1e-12)
