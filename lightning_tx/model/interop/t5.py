"""T5: ``T5ForConditionalGeneration``, the first version and the later ones with a gated feed-forward (1.1, Flan).

T5 does not scale the scores of its attention, and in the first version it scales the states before the output
projection, which is the embedding. Both factors become part of the weights: of the queries' projection and of the
decoder's last norm. In training T5 also drops inside the feed-forward and after a stack's last norm; our parts do not.

Source: Raffel et al. 2020, arXiv:1910.10683.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_tx.model.interop.renaming import renamed
from lightning_tx.model.interop.settings import Settings

#: Our feed-forwards, and whether the version that has them scales its output.
_FEED_FORWARDS = {"relu": ("relu", True), "gated-gelu": ("geglu_tanh", False), "gated-silu": ("swiglu", False)}
#: The scale of an initialisation that is not ours, heads, and what feed_forward_proj says already.
_WITHOUT_EFFECT = "initializer_factor classifier_dropout is_encoder_decoder dense_act_fn is_gated_act"

_LAYER, _OURS = r"(encoder|decoder)\.block\.(\d+)\.layer\.", r"\1.layers.\2."
_FEED_FORWARD = rf"{_LAYER}[12]\.DenseReluDense\."
_RULES = [
    (r"shared\.weight", "token_embedding.weight"),
    (r"decoder\.embed_tokens\.weight", "token_embedding.weight"),
    (r"encoder\.embed_tokens\.weight", "source_embedding.weight"),
    (r"lm_head\.weight", "lm_head.weight"),
    (r"(encoder|decoder)\.final_layer_norm\.weight", r"\1.final_norm.weight"),
    (rf"{_LAYER}0\.SelfAttention\.relative_attention_bias\.weight", r"\1.positions.embedding.weight"),
    (rf"{_LAYER}0\.SelfAttention\.([qkvo])\.weight", rf"{_OURS}sublayers.self_attention.\3_proj.weight"),
    (rf"{_LAYER}0\.layer_norm\.weight", rf"{_OURS}norms.self_attention.weight"),
    (rf"{_LAYER}1\.EncDecAttention\.([qkvo])\.weight", rf"{_OURS}sublayers.cross_attention.\3_proj.weight"),
    (r"decoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight", r"decoder.layers.\1.norms.cross_attention.weight"),
    (rf"{_LAYER}[12]\.layer_norm\.weight", rf"{_OURS}norms.feed_forward.weight"),
    (rf"{_FEED_FORWARD}wi_0\.weight", rf"{_OURS}sublayers.feed_forward.gate_proj.weight"),
    (rf"{_FEED_FORWARD}(?:wi|wi_1)\.weight", rf"{_OURS}sublayers.feed_forward.up_proj.weight"),
    (rf"{_FEED_FORWARD}wo\.weight", rf"{_OURS}sublayers.feed_forward.down_proj.weight"),
]
#: In the first checkpoints, and never used.
_LEFT_OUT = [r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"]


def config(hf_config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of our model. Where the output is not scaled its projection may differ from the embedding.

    Raises:
        ConfigError: naming every setting that our parts cannot follow.
    """
    settings = Settings(hf_config, "t5", ignored=_WITHOUT_EFFECT)
    feed_forward, scaled = settings.choice("feed_forward_proj", _FEED_FORWARDS, "relu")
    # Configs of old say by tie_word_embeddings whether the output is scaled; transformers itself reads them so.
    key = "tie_word_embeddings" if hf_config.get("scale_decoder_outputs") is None else "scale_decoder_outputs"
    settings.get("tie_word_embeddings", None)
    settings.only(key, scaled)
    dropout = settings.get("dropout_rate", 0.1)
    num_layers = settings.get("num_layers", 6)
    found = {
        "model": {
            "name": "encoder_decoder",
            "vocab_size": settings.get("vocab_size", 32128),
            "vocab_multiple": 1,
            "max_seq_len": settings.get("n_positions", 512),
            "d_model": settings.get("d_model", 512),
            "num_encoder_layers": num_layers,
            "num_decoder_layers": settings.get("num_decoder_layers", num_layers),
            "num_heads": settings.get("num_heads", 8),
            "head_dim": settings.get("d_kv", 64),
            "d_ff": settings.get("d_ff", 2048),
            "dropout": dropout,
            "tie_embeddings": scaled,
            "embedding_scale": 1.0,
        },
        "positions": {
            "name": "t5_relative",
            "num_buckets": settings.get("relative_attention_num_buckets", 32),
            "max_distance": settings.get("relative_attention_max_distance", 128),
        },
        "attention": {"name": "multi_head", "dropout": dropout},
        "pattern": {"name": "full"},
        "norm": {"name": "rmsnorm", "eps": settings.get("layer_norm_epsilon", 1e-6)},
        "block": {"name": "pre_norm"},
        "feed_forward": {"name": feed_forward},
    }
    settings.finish()
    return found


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict.

    Raises:
        ConfigError: naming every tensor that is none of T5's.
    """
    found = renamed(state, _RULES, left_out=_LEFT_OUT)
    embedding = found["token_embedding.weight"]
    found = {"source_embedding.weight": embedding, "lm_head.weight": embedding} | found
    num_heads = found["encoder.positions.embedding.weight"].shape[1]
    for name, value in found.items():
        if name.endswith("q_proj.weight"):
            found[name] = value * (value.shape[0] // num_heads) ** 0.5
    if not any("gate_proj" in name for name in found):
        found["decoder.final_norm.weight"] = found["decoder.final_norm.weight"] * embedding.shape[1] ** -0.5
    return found
