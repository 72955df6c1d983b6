"""GPT-2: ``GPT2LMHeadModel`` and ``GPT2Model``.

Source: Radford et al. 2019 (GPT-2).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_tx.model.interop.renaming import renamed, with_output
from lightning_tx.model.interop.settings import PLAIN_ACTIVATIONS, Settings

_HEADS = """
    summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout predict_special_tokens
"""
#: Numerics only: the order of operations in half precision, and a length that n_positions repeats.
_NUMERICS = "reorder_and_upcast_attn n_ctx"

_LAYER, _OURS = r"(?:transformer\.)?h\.(\d+)\.", r"stack.layers.\1."
_RULES = [
    (r"(?:transformer\.)?wte\.weight", "token_embedding.weight"),
    (r"(?:transformer\.)?wpe\.weight", "stack.positions.embedding.weight"),
    (r"(?:transformer\.)?ln_f\.(weight|bias)", r"stack.final_norm.\1"),
    (r"lm_head\.weight", "lm_head.weight"),
    (rf"{_LAYER}ln_1\.(weight|bias)", rf"{_OURS}norms.self_attention.\2"),
    (rf"{_LAYER}ln_2\.(weight|bias)", rf"{_OURS}norms.feed_forward.\2"),
    (rf"{_LAYER}attn\.c_attn\.(weight|bias)", rf"{_OURS}sublayers.self_attention.qkv_proj.\2"),
    (rf"{_LAYER}attn\.c_proj\.(weight|bias)", rf"{_OURS}sublayers.self_attention.o_proj.\2"),
    (rf"{_LAYER}mlp\.c_fc\.(weight|bias)", rf"{_OURS}sublayers.feed_forward.up_proj.\2"),
    (rf"{_LAYER}mlp\.c_proj\.(weight|bias)", rf"{_OURS}sublayers.feed_forward.down_proj.\2"),
]
#: Masks that older versions stored.
_LEFT_OUT = [rf"{_LAYER}attn\.(masked_)?bias"]


def config(hf_config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of our model.

    Raises:
        ConfigError: naming every setting that our parts cannot follow.
    """
    settings = Settings(hf_config, "gpt2", ignored=f"{_HEADS} {_NUMERICS}")
    settings.only("scale_attn_weights", True)
    settings.only("scale_attn_by_inverse_layer_idx", False)
    settings.only("add_cross_attention", False)
    dropout = settings.get("resid_pdrop", 0.1)
    if settings.get("embd_pdrop", 0.1) != dropout:
        settings.refuse("embd_pdrop", settings.get("embd_pdrop", 0.1), dropout)
    std = settings.get("initializer_range", 0.02)
    found = {
        "model": {
            "name": "decoder",
            "vocab_size": settings.get("vocab_size", 50257),
            "vocab_multiple": 1,
            "max_seq_len": settings.get("n_positions", 1024),
            "d_model": settings.get("n_embd", 768),
            "num_layers": settings.get("n_layer", 12),
            "num_heads": settings.get("n_head", 12),
            "d_ff": settings.get("n_inner", None),
            "dropout": dropout,
            "tie_embeddings": settings.get("tie_word_embeddings", True),
            "embedding_scale": 1.0,
            "embedding_std": std,
            "linear_std": std,
        },
        "positions": {"name": "learned", "std": std},
        "attention": {"name": "multi_head", "bias": True, "dropout": settings.get("attn_pdrop", 0.1)},
        "pattern": {"name": "full"},
        "norm": {"name": "layernorm", "eps": settings.get("layer_norm_epsilon", 1e-5)},
        "block": {"name": "pre_norm"},
        "feed_forward": {"name": settings.choice("activation_function", PLAIN_ACTIVATIONS, "gelu_new"), "bias": True},
    }
    settings.finish()
    return found


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict; GPT-2 stores the matrices of its layers as [inputs, outputs], queries, keys and values in one.

    Raises:
        ConfigError: naming every tensor that is none of GPT-2's.
    """
    found: dict[str, Tensor] = {}
    for name, value in renamed(state, _RULES, left_out=_LEFT_OUT).items():
        if ".sublayers." in name and value.ndim == 2:
            value = value.mT
        if ".qkv_proj." in name:
            for part, own in zip("qkv", value.chunk(3), strict=True):
                found[name.replace("qkv_proj", f"{part}_proj")] = own
        else:
            found[name] = value
    return with_output(found)
