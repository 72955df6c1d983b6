"""Adapted models, and the same with peft's adapters."""

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER
from tests.model.configs import small_model, tokens

TOKENS = tokens(2, 7)
TARGETS = ["q_proj", "v_proj", "down_proj"]
#: Weights of adapters by their names, to what adapters of peft's call them.
PEFT_NAMES = {
    "lora_A": "lora_A.default.weight",
    "lora_B": "lora_B.default.weight",
    "lora_magnitude": "lora_magnitude_vector.default.weight",
}


def adapted(model: nn.Module, adapter: dict[str, Any], std: float = 0.3) -> Any:
    """The model with an adapter, all of its own parameters random, around what a trained copy holds."""
    made = ADAPTER.create(adapter).apply(model)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter += std * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return made


def logits(model: Any, *inputs: Tensor) -> Tensor:
    return model.head.logits(model(*(inputs or (TOKENS,))).x)


def gradients(model: Any) -> dict[str, Tensor]:
    logits(model).square().mean().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_like_peft(adapter: dict[str, Any], **options: Any) -> None:
    """Our adapter and peft's compute the same, with the same weights, and have the same gradients."""
    biased = {"attention": {"bias": True}}
    ours = adapted(small_model(**biased), {"targets": TARGETS, **adapter})
    config = LoraConfig(target_modules=TARGETS, bias="none", **options)
    theirs = inject_adapter_in_model(config, small_model(**biased))
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if parameter.requires_grad:
                layer, _, own = name.rpartition(".")
                length = ours.get_parameter(f"{layer}.weight").norm(dim=1) if own == "lora_magnitude" else 0.0
                theirs.get_parameter(f"{layer}.{PEFT_NAMES[own]}").copy_(parameter + length)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-11)
    expected = gradients(theirs)
    found = {
        name.replace(own := name.rpartition(".")[2], PEFT_NAMES[own]): grad for name, grad in gradients(ours).items()
    }
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-11)
