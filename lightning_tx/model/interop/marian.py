"""Marian's translation models: ``MarianMTModel``.

Source: Junczys-Dowmunt et al. 2018, arXiv:1804.00344; Tiedemann and Thottingal 2020 (OPUS-MT).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_tx.model.interop.renaming import renamed as _renamed
from lightning_tx.model.interop.settings import PLAIN_ACTIVATIONS, Settings

_LAYER, _OURS = r"model\.(encoder|decoder)\.layers\.(\d+)\.", r"\1.layers.\2."
_RULES = [
    (r"model\.shared\.weight", "token_embedding.weight"),
    (r"model\.decoder\.embed_tokens\.weight", "token_embedding.weight"),
    (r"model\.encoder\.embed_tokens\.weight", "source_embedding.weight"),
    (r"lm_head\.weight", "lm_head.weight"),
    (r"final_logits_bias", "lm_head.bias"),
    (rf"{_LAYER}self_attn_layer_norm\.(weight|bias)", rf"{_OURS}norms.self_attention.\3"),
    (rf"{_LAYER}encoder_attn_layer_norm\.(weight|bias)", rf"{_OURS}norms.cross_attention.\3"),
    (rf"{_LAYER}final_layer_norm\.(weight|bias)", rf"{_OURS}norms.feed_forward.\3"),
    (rf"{_LAYER}self_attn\.([qkv]_proj)\.(weight|bias)", rf"{_OURS}sublayers.self_attention.\3.\4"),
    (rf"{_LAYER}self_attn\.out_proj\.(weight|bias)", rf"{_OURS}sublayers.self_attention.o_proj.\3"),
    (rf"{_LAYER}encoder_attn\.([qkv]_proj)\.(weight|bias)", rf"{_OURS}sublayers.cross_attention.\3.\4"),
    (rf"{_LAYER}encoder_attn\.out_proj\.(weight|bias)", rf"{_OURS}sublayers.cross_attention.o_proj.\3"),
    (rf"{_LAYER}fc1\.(weight|bias)", rf"{_OURS}sublayers.feed_forward.up_proj.\3"),
    (rf"{_LAYER}fc2\.(weight|bias)", rf"{_OURS}sublayers.feed_forward.down_proj.\3"),
]
#: The table of sines and cosines, which is not trained.
_LEFT_OUT = [r"model\.(encoder|decoder)\.embed_positions\.weight"]


def config(hf_config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of our model.

    Raises:
        ConfigError: naming every setting that our parts cannot follow.
    """
    settings = Settings(hf_config, "marian", ignored="num_hidden_layers is_encoder_decoder classif_dropout")
    settings.only("static_position_embeddings", True)
    for switch in ("normalize_before", "normalize_embedding", "add_final_layer_norm", "extra_pos_embeddings"):
        settings.only(switch, False)
    for rate in ("activation_dropout", "encoder_layerdrop", "decoder_layerdrop"):
        settings.only(rate, 0.0)
    num_heads = settings.get("encoder_attention_heads", 16)
    settings.only("decoder_attention_heads", num_heads)
    d_ff = settings.get("encoder_ffn_dim", 4096)
    settings.only("decoder_ffn_dim", d_ff)
    vocab_size = settings.get("vocab_size", 58101)
    found = {
        "model": {
            "name": "encoder_decoder",
            "vocab_size": settings.get("decoder_vocab_size", vocab_size),
            "source_vocab_size": vocab_size,
            "vocab_multiple": 1,
            "max_seq_len": settings.get("max_position_embeddings", 1024),
            "d_model": settings.get("d_model", 1024),
            "num_encoder_layers": settings.get("encoder_layers", 12),
            "num_decoder_layers": settings.get("decoder_layers", 12),
            "num_heads": num_heads,
            "d_ff": d_ff,
            "dropout": settings.get("dropout", 0.1),
            "share_embeddings": settings.get("share_encoder_decoder_embeddings", True),
            "tie_embeddings": settings.get("tie_word_embeddings", True),
            "output_bias": True,
            "embedding_scale": None if settings.get("scale_embedding", False) else 1.0,
            "embedding_std": settings.get("init_std", 0.02),
            "linear_std": settings.get("init_std", 0.02),
        },
        "positions": {"name": "sinusoidal"},
        "attention": {"name": "multi_head", "bias": True, "dropout": settings.get("attention_dropout", 0.0)},
        "pattern": {"name": "full"},
        "norm": {"name": "layernorm"},
        "block": {"name": "post_norm"},
        "feed_forward": {"name": settings.choice("activation_function", PLAIN_ACTIVATIONS, "gelu"), "bias": True},
    }
    settings.finish()
    return found


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict.

    Marian's positions are all sines, then all cosines, where ours alternate: the dimensions of the residual stream
    take our order, in everything that reads it or writes to it.

    Raises:
        ConfigError: naming every tensor that is none of Marian's.
    """
    return {name: _reordered(name, value) for name, value in renamed(state).items()}


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under our names and in our shapes, the dimensions of the residual stream still in their order.

    They share memory with those given.

    Raises:
        ConfigError: naming every tensor that is none of Marian's.
    """
    found = _renamed(state, _RULES, left_out=_LEFT_OUT)
    embedding = found["token_embedding.weight"]
    tied = {"source_embedding.weight": embedding, "lm_head.weight": embedding}
    found = tied | found
    return found | {"lm_head.bias": found["lm_head.bias"].flatten()}


def _reordered(name: str, value: Tensor) -> Tensor:
    layer, _, kind = name.rpartition(".")
    own = layer.rpartition(".")[2]
    writes = ".norms." in name or own in ("o_proj", "down_proj")
    if not writes and kind == "bias":
        return value
    return _alternating(value) if writes else _alternating(value.mT).mT


def _alternating(value: Tensor) -> Tensor:
    """Rows of the first and of the second half in turns."""
    return value.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1)
