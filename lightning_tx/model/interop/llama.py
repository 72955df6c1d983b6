"""Llama, all versions: ``LlamaForCausalLM``.

Source: Touvron et al. 2023, arXiv:2302.13971 and arXiv:2307.09288; Grattafiori et al. 2024, arXiv:2407.21783.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_tx.model.interop.renaming import renamed, with_output
from lightning_tx.model.interop.rotary import rotary
from lightning_tx.model.interop.settings import Settings

_ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}

LAYER, OURS = r"model\.layers\.(\d+)\.", r"stack.layers.\1."
#: Names of all but the feed-forward, which other families share.
RULES = [
    (r"model\.embed_tokens\.weight", "token_embedding.weight"),
    (r"model\.norm\.weight", "stack.final_norm.weight"),
    (r"lm_head\.weight", "lm_head.weight"),
    (rf"{LAYER}input_layernorm\.weight", rf"{OURS}norms.self_attention.weight"),
    (rf"{LAYER}post_attention_layernorm\.weight", rf"{OURS}norms.feed_forward.weight"),
    (rf"{LAYER}self_attn\.([qkvo]_proj)\.(weight|bias)", rf"{OURS}sublayers.self_attention.\2.\3"),
]
_FEED_FORWARD = [(rf"{LAYER}mlp\.((?:gate|up|down)_proj)\.(weight|bias)", rf"{OURS}sublayers.feed_forward.\2.\3")]
#: Frequencies that older versions stored.
LEFT_OUT = [rf"{LAYER}self_attn\.rotary_emb\.inv_freq"]


def config(hf_config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of our model.

    Raises:
        ConfigError: naming every setting that our parts cannot follow.
    """
    settings = Settings(hf_config, "llama", ignored="pretraining_tp max_sequence_length")
    found = decoder(
        settings,
        {
            "name": settings.choice("hidden_act", _ACTIVATIONS, "silu"),
            "bias": settings.get("mlp_bias", False),
        },
    )
    found["attention"]["bias"] = settings.get("attention_bias", False)
    settings.finish()
    return found


def decoder(settings: Settings, feed_forward: dict[str, Any]) -> dict[str, Any]:
    """The config of a decoder of Llama's form with this feed-forward."""
    std = settings.get("initializer_range", 0.02)
    num_heads = settings.get("num_attention_heads", 32)
    return {
        "model": {
            "name": "decoder",
            "vocab_size": settings.get("vocab_size", 32000),
            "vocab_multiple": 1,
            "max_seq_len": settings.get("max_position_embeddings", 2048),
            "d_model": settings.get("hidden_size", 4096),
            "num_layers": settings.get("num_hidden_layers", 32),
            "num_heads": num_heads,
            "head_dim": settings.get("head_dim", None),
            "d_ff": settings.get("intermediate_size", 11008),
            "dropout": 0.0,
            "tie_embeddings": settings.get("tie_word_embeddings", False),
            "embedding_scale": 1.0,
            "embedding_std": std,
            "linear_std": std,
        },
        "positions": rotary(settings),
        "attention": {
            "name": "multi_head",
            "num_kv_heads": settings.get("num_key_value_heads", num_heads),
            "dropout": settings.get("attention_dropout", 0.0),
        },
        "pattern": {"name": "full"},
        "norm": {"name": "rmsnorm", "eps": settings.get("rms_norm_eps", 1e-6)},
        "block": {"name": "pre_norm"},
        "feed_forward": feed_forward,
    }


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict.

    Raises:
        ConfigError: naming every tensor that is none of Llama's.
    """
    return with_output(renamed(state, RULES + _FEED_FORWARD, left_out=LEFT_OUT))
