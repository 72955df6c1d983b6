"""Decoders against those of transformers, with the same weights."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lightning_tx.model.build import build_model
from tests.model.configs import config, scrambled, tokens

D, H, F, L, V, T = 32, 4, 48, 2, 64, 16
SIZES = {"d_model": D, "num_heads": H, "d_ff": F, "num_layers": L, "vocab_size": V, "embedding_scale": 1.0}


def load(model: nn.Module, weights: Iterator[tuple[str, Tensor]]) -> None:
    """Every parameter must be given, and nothing else."""
    model.load_state_dict({name: value.detach() for name, value in weights}, strict=True)


def from_gpt2(reference: nn.Module) -> Iterator[tuple[str, Tensor]]:
    theirs = dict(reference.named_parameters())
    yield "token_embedding.weight", theirs["transformer.wte.weight"]
    yield "lm_head.weight", theirs["transformer.wte.weight"]
    yield "stack.positions.embedding.weight", theirs["transformer.wpe.weight"]
    for kind in ("weight", "bias"):
        yield f"stack.final_norm.{kind}", theirs[f"transformer.ln_f.{kind}"]
        for i in range(L):
            their, our = f"transformer.h.{i}", f"stack.layers.{i}"
            yield f"{our}.norms.self_attention.{kind}", theirs[f"{their}.ln_1.{kind}"]
            yield f"{our}.norms.feed_forward.{kind}", theirs[f"{their}.ln_2.{kind}"]
            # GPT-2 stores matrices as [inputs, outputs]; .mT of a vector would be refused, .T leaves it.
            stacked = theirs[f"{their}.attn.c_attn.{kind}"].chunk(3, dim=-1)
            for name, value in zip(("q_proj", "k_proj", "v_proj"), stacked, strict=True):
                yield f"{our}.sublayers.self_attention.{name}.{kind}", transposed(value)
            yield f"{our}.sublayers.self_attention.o_proj.{kind}", transposed(theirs[f"{their}.attn.c_proj.{kind}"])
            yield f"{our}.sublayers.feed_forward.up_proj.{kind}", transposed(theirs[f"{their}.mlp.c_fc.{kind}"])
            yield f"{our}.sublayers.feed_forward.down_proj.{kind}", transposed(theirs[f"{their}.mlp.c_proj.{kind}"])


def transposed(value: Tensor) -> Tensor:
    return value.mT if value.ndim == 2 else value


def from_llama(reference: nn.Module) -> Iterator[tuple[str, Tensor]]:
    theirs = dict(reference.named_parameters())
    yield "token_embedding.weight", theirs["model.embed_tokens.weight"]
    yield "lm_head.weight", theirs["lm_head.weight"]
    yield "stack.final_norm.weight", theirs["model.norm.weight"]
    for i in range(L):
        their, our = f"model.layers.{i}", f"stack.layers.{i}"
        yield f"{our}.norms.self_attention.weight", theirs[f"{their}.input_layernorm.weight"]
        yield f"{our}.norms.feed_forward.weight", theirs[f"{their}.post_attention_layernorm.weight"]
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield f"{our}.sublayers.self_attention.{name}.weight", theirs[f"{their}.self_attn.{name}.weight"]
        for name in ("gate_proj", "up_proj", "down_proj"):
            yield f"{our}.sublayers.feed_forward.{name}.weight", theirs[f"{their}.mlp.{name}.weight"]


def test_it_is_gpt2() -> None:
    model = build_model(
        config(
            sizes=SIZES | {"max_seq_len": T},
            positions="learned",
            attention={"bias": True},
            feed_forward={"name": "gelu", "bias": True},
        )
    ).eval()
    reference = GPT2LMHeadModel(
        GPT2Config(vocab_size=V, n_positions=T, n_embd=D, n_layer=L, n_head=H, n_inner=F, activation_function="gelu")
    ).eval()
    load(model, from_gpt2(scrambled(reference, std=0.2)))
    ids = tokens(3, T, vocab_size=V)
    ours, theirs = model.logits(model(ids).x), reference(ids).logits
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_it_is_llama() -> None:
    model = build_model(
        config(
            sizes=SIZES | {"tie_embeddings": False},
            positions={"name": "rope", "base": 500.0},
            attention={"num_kv_heads": 2},
            norm={"name": "rmsnorm", "eps": 1e-3},
            feed_forward="swiglu",
        )
    ).eval()
    reference = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V,
            hidden_size=D,
            intermediate_size=F,
            num_hidden_layers=L,
            num_attention_heads=H,
            num_key_value_heads=2,
            rms_norm_eps=1e-3,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
            tie_word_embeddings=False,
        )
    ).eval()
    load(model, from_llama(scrambled(reference, std=0.2)))
    ids = tokens(3, T, vocab_size=V)
    ours, theirs = model.logits(model(ids).x), reference(ids).logits
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
