"""Mixtral: ``MixtralForCausalLM``, a decoder of Llama's form with a mixture of experts.

Source: Jiang et al. 2024, arXiv:2401.04088.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_tx.model.interop.llama import LAYER, LEFT_OUT, OURS, RULES, decoder
from lightning_tx.model.interop.renaming import renamed, with_output
from lightning_tx.model.interop.settings import Settings

_ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}

#: The experts of a layer come one by one in files, and stacked in a module's state dict.
_EXPERTS = [
    (rf"{LAYER}(?:mlp|block_sparse_moe)\.gate\.weight", rf"{OURS}sublayers.feed_forward.router.weight"),
    (rf"{LAYER}block_sparse_moe\.experts\.(\d+)\.w1\.weight", rf"{OURS}sublayers.feed_forward.experts.gate_proj.\2"),
    (rf"{LAYER}block_sparse_moe\.experts\.(\d+)\.w2\.weight", rf"{OURS}sublayers.feed_forward.experts.down_proj.\2"),
    (rf"{LAYER}block_sparse_moe\.experts\.(\d+)\.w3\.weight", rf"{OURS}sublayers.feed_forward.experts.up_proj.\2"),
    (rf"{LAYER}mlp\.experts\.gate_up_proj", rf"{OURS}sublayers.feed_forward.experts.gate_up_proj"),
    (rf"{LAYER}mlp\.experts\.down_proj", rf"{OURS}sublayers.feed_forward.experts.down_proj.weight"),
]


def config(hf_config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of our model.

    The loss for an even load is there where ``output_router_logits`` asks for it. It is taken in each layer and not
    over all together; its weight is such that an even load costs as much.

    Raises:
        ConfigError: naming every setting that our parts cannot follow.
    """
    settings = Settings(hf_config, "mixtral")
    settings.only("router_jitter_noise", 0.0)
    settings.only("sliding_window")
    top_k = settings.get("num_experts_per_tok", 2)
    if top_k == 1:
        settings.refuse("num_experts_per_tok", top_k, "2 or more")
    balance = settings.get("router_aux_loss_coef", 0.001) * top_k / settings.get("num_hidden_layers", 32)
    found = decoder(
        settings,
        {
            "name": "moe",
            "num_experts": settings.get("num_local_experts", 8),
            "top_k": top_k,
            "expert": {"name": settings.choice("hidden_act", _ACTIVATIONS, "silu"), "bias": False},
            "normalise": True,
            "load_balance": balance if settings.get("output_router_logits", False) else 0.0,
            "z_loss": 0.0,
        },
    )
    settings.finish()
    return found


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict.

    Raises:
        ConfigError: naming every tensor that is none of Mixtral's.
    """
    found: dict[str, Tensor] = {}
    single: dict[str, dict[int, Tensor]] = {}
    for name, value in renamed(state, RULES + _EXPERTS, left_out=LEFT_OUT).items():
        experts, _, last = name.rpartition(".")
        if last == "gate_up_proj":
            gate, up = value.chunk(2, dim=1)
            found |= {f"{experts}.gate_proj.weight": gate, f"{experts}.up_proj.weight": up}
        elif last.isdecimal():
            single.setdefault(f"{experts}.weight", {})[int(last)] = value
        else:
            found[name] = value
    for name, values in single.items():
        found[name] = torch.stack([values[expert] for expert in sorted(values)])
    return with_output(found)
