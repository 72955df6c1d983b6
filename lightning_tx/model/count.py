"""How large a model is and what a token costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_tx.core.context import Sublayer
from lightning_tx.model.body import language_model
from lightning_tx.model.build import HeadMaker, build_model
from lightning_tx.model.config import ModelConfig


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters; a shared one counts once.

    Attributes:
        total: all parameters.
        trainable: those that require a gradient.
        active: those that take part in the computation of one token.
    """

    total: int
    trainable: int
    active: int


def count_parameters(model: nn.Module) -> Counts:
    """Count the parameters of a model, on any device."""
    parameters = list(model.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    trainable = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    idle = sum(module.idle_parameters() for module in model.modules() if isinstance(module, Sublayer))
    return Counts(total=total, trainable=trainable, active=total - idle)


def parameter_table(model: nn.Module, depth: int) -> list[tuple[str, int, int]]:
    """Rows (module, total, trainable) for the modules down to a depth that hold parameters."""
    rows = []
    for name, module in model.named_modules():
        if name and name.count(".") < depth and any(True for _ in module.parameters()):
            counts = count_parameters(module)
            rows.append((name, counts.total, counts.trainable))
    return rows


def forward_flops_per_token(
    config: ModelConfig | Mapping[str, Any], *, head: HeadMaker = language_model, **sizes: Any
) -> float:
    """Floating-point operations of a forward pass, that of the head included, per token of one full-length sequence.

    Counted by running the model on the meta device. Full attention counts over all pairs, causal or not; a sparse
    pattern counts what is computed of it. A training step costs about three times as much.

    Args:
        config: as :func:`build_model` takes it.
        head: makes the head.
        sizes: what the data say, as :func:`build_model` takes it.
    """
    model = build_model(config, head=head, device="meta", **sizes)
    tokens_BT = torch.zeros(1, model.max_seq_len, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        model.head.logits(model(*[tokens_BT] * model.num_inputs).x)
    return counter.get_total_flops() / tokens_BT.numel()
