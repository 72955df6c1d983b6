from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lightning_tx.components.adapter.prefix import Prefix
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.adapters import Adapters
from lightning_tx.model.interop import gpt2, llama
from lightning_tx.testing.places import context
from lightning_tx.testing.values import randomise
from tests.components.adapter.models import TOKENS, adapted
from tests.model.configs import small_model, tokens
from tests.model.interop.pairs import pair

#: What they are called there.
SIZES: dict[Any, dict[str, Any]] = {
    llama: {"num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 32},
    gpt2: {"n_positions": 32},
}


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


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("family", [llama, gpt2])
def test_a_prefix_of_pefts_fits_where_tokens_stand_behind_it(family: Any, tmp_path: Path) -> None:
    ids, length = tokens(2, 9, vocab_size=61), 5
    sizes = {"vocab_size": 61, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
    sizes |= {"bos_token_id": 1, "eos_token_id": 2}
    theirs = {llama: LlamaForCausalLM, gpt2: GPT2LMHeadModel}[family](
        {llama: LlamaConfig, gpt2: GPT2Config}[family](**sizes, **SIZES[family])
    )
    ours, theirs = pair(family, theirs, tmp_path)
    options = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=length)
    tuned: Any = get_peft_model(theirs, options).double().eval()
    randomise(tuned.prompt_encoder)
    adapters = Adapters(ours)
    adapters.add("theirs", {"name": "prefix", "length": length, "shift_positions": True})
    plain = ours.head.logits(ours(ids).x)
    adapters.use("theirs")
    by_name = adapters.state_dict("theirs")
    # [P, layers · 2 · G · K]: keys and values of each layer.
    given = tuned.prompt_encoder["default"].embedding.weight.detach().unflatten(1, (2, 2, -1, 8)).permute(1, 2, 3, 0, 4)
    for layer, both in enumerate(given):
        for name, value in zip(("prefix_k", "prefix_v"), both, strict=True):
            by_name[f"stack.layers.{layer}.sublayers.self_attention.{name}"].copy_(value[None])
    with torch.no_grad():
        found, expected = ours.head.logits(ours(ids).x), tuned(ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(found, plain, atol=0.01)
    adapters.use(None)
    torch.testing.assert_close(ours.head.logits(ours(ids).x), plain, rtol=0, atol=0)


def test_shifted_positions_end_earlier_and_need_a_self_attention() -> None:
    shifted = {"name": "prefix", "length": 3, "shift_positions": True}
    model = adapted(small_model(positions="learned"), shifted)
    assert model.stack.positions.max_positions == small_model(positions="learned").stack.positions.max_positions - 3
    with pytest.raises(ConfigError, match=r"adapter.shift_positions: true, but no self-attention"):
        Prefix(sites=["cross_attention"], shift_positions=True)


def test_values_at_zero_only_take_a_share() -> None:
    model = Prefix(length=2).apply(small_model())
    assert not torch.allclose(model(TOKENS).x, small_model()(TOKENS).x)
