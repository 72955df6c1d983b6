"""BERT's encoder: ``BertModel``, and what the models with a head have of it.

What comes out are the states of ``last_hidden_state``. All tokens are of type 0, whose embedding becomes part of the
positions'. The pooler and the heads have no counterpart and are left out: ``logits`` is a plain projection by the
embedding.

Source: Devlin et al. 2018, arXiv:1810.04805.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_tx.model.interop.renaming import renamed, with_output
from lightning_tx.model.interop.settings import PLAIN_ACTIVATIONS, Settings

_HEADS = """
    type_vocab_size classifier_dropout tie_word_embeddings directionality pooler_fc_size pooler_num_attention_heads
    pooler_num_fc_layers pooler_size_per_head pooler_type
"""

_TYPES = "token_types"
_LAYER, _OURS = r"(?:bert\.)?encoder\.layer\.(\d+)\.", r"stack.layers.\1."
_RULES = [
    (r"(?:bert\.)?embeddings\.word_embeddings\.weight", "token_embedding.weight"),
    (r"(?:bert\.)?embeddings\.position_embeddings\.weight", "stack.positions.embedding.weight"),
    (r"(?:bert\.)?embeddings\.token_type_embeddings\.weight", _TYPES),
    (r"(?:bert\.)?embeddings\.LayerNorm\.(weight|bias)", r"stack.embedding_norm.\1"),
    (rf"{_LAYER}attention\.self\.query\.(weight|bias)", rf"{_OURS}sublayers.self_attention.q_proj.\2"),
    (rf"{_LAYER}attention\.self\.key\.(weight|bias)", rf"{_OURS}sublayers.self_attention.k_proj.\2"),
    (rf"{_LAYER}attention\.self\.value\.(weight|bias)", rf"{_OURS}sublayers.self_attention.v_proj.\2"),
    (rf"{_LAYER}attention\.output\.dense\.(weight|bias)", rf"{_OURS}sublayers.self_attention.o_proj.\2"),
    (rf"{_LAYER}attention\.output\.LayerNorm\.(weight|bias)", rf"{_OURS}norms.self_attention.\2"),
    (rf"{_LAYER}intermediate\.dense\.(weight|bias)", rf"{_OURS}sublayers.feed_forward.up_proj.\2"),
    (rf"{_LAYER}output\.dense\.(weight|bias)", rf"{_OURS}sublayers.feed_forward.down_proj.\2"),
    (rf"{_LAYER}output\.LayerNorm\.(weight|bias)", rf"{_OURS}norms.feed_forward.\2"),
]
_LEFT_OUT = [r"(bert\.)?pooler\..*", r"cls\..*", r"classifier\..*", r"(bert\.)?embeddings\.position_ids"]


def config(hf_config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of our model.

    Raises:
        ConfigError: naming every setting that our parts cannot follow.
    """
    settings = Settings(hf_config, "bert", ignored=_HEADS)
    settings.only("position_embedding_type", "absolute")
    settings.only("is_decoder", False)
    settings.only("add_cross_attention", False)
    std = settings.get("initializer_range", 0.02)
    found = {
        "model": {
            "name": "encoder",
            "vocab_size": settings.get("vocab_size", 30522),
            "vocab_multiple": 1,
            "max_seq_len": settings.get("max_position_embeddings", 512),
            "d_model": settings.get("hidden_size", 768),
            "num_layers": settings.get("num_hidden_layers", 12),
            "num_heads": settings.get("num_attention_heads", 12),
            "d_ff": settings.get("intermediate_size", 3072),
            "dropout": settings.get("hidden_dropout_prob", 0.1),
            "tie_embeddings": True,
            "embedding_scale": 1.0,
            "embedding_norm": True,
            "embedding_std": std,
            "linear_std": std,
        },
        "positions": {"name": "learned", "std": std},
        "attention": {
            "name": "multi_head",
            "bias": True,
            "dropout": settings.get("attention_probs_dropout_prob", 0.1),
        },
        "pattern": {"name": "full"},
        "norm": {"name": "layernorm", "eps": settings.get("layer_norm_eps", 1e-12)},
        "block": {"name": "post_norm"},
        "feed_forward": {"name": settings.choice("hidden_act", PLAIN_ACTIVATIONS, "gelu"), "bias": True},
    }
    settings.finish()
    return found


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict. The oldest checkpoints call a norm's weight and bias gamma and beta.

    Raises:
        ConfigError: naming every tensor that is none of BERT's.
    """
    current = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): value
        for name, value in state.items()
    }
    found = renamed(current, _RULES, left_out=_LEFT_OUT)
    found["stack.positions.embedding.weight"] = found["stack.positions.embedding.weight"] + found.pop(_TYPES)[0]
    return with_output(found)
