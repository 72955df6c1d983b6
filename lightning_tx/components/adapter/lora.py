import math
from fnmatch import fnmatch
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.adapter.base import Adapter
from lightning_tx.core.dropout import Dropout
from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.core.registry import register
from lightning_tx.core.schemes import Constant, Uniform


class LoraLinear(nn.Linear):
    """A linear layer, frozen, with a trained update of low rank: ``W x + b + scale · B A dropout(x)``.

    It takes over the parameters of ``linear``, under their old names. At the start B is zero, so nothing changes.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, dropout: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        like = linear.weight
        self.lora_A = nn.Parameter(torch.zeros(rank, linear.in_features, dtype=like.dtype, device=like.device))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank, dtype=like.dtype, device=like.device))
        self.scale = scale
        self.dropout = Dropout(dropout)
        # Kaiming-uniform with a = sqrt(5), as the paper's code does: a bound of 1 / sqrt(inputs). The base keeps the
        # schemes that it may have declared.
        own = {"lora_A": Uniform(1 / math.sqrt(linear.in_features)), "lora_B": Constant(0.0)}
        self.initial = vars(linear).get("initial", {}) | own

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        update = F.linear(F.linear(self.dropout(x), self.lora_A), self.lora_B)
        return F.linear(x, self.weight, self.bias) + self.scale * update

    def merged(self) -> nn.Linear:
        """A plain linear layer with the update folded in; the sum is taken in float32 at least."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        with torch.no_grad():
            weight = self.weight.to(dtype) + self.scale * (self.lora_B.to(dtype) @ self.lora_A.to(dtype))
        linear.weight = nn.Parameter(weight.to(self.weight.dtype))
        linear.bias = self.bias
        return linear


@register("adapter", "lora")
class Lora(Adapter):
    """Trains a low-rank update ``(alpha / rank) · B A`` of chosen matrices on a frozen base.

    Source: Hu et al. 2021, arXiv:2106.09685.

    Args:
        rank: inner width r of the update.
        alpha: the update is scaled by ``alpha / rank``. With alpha fixed, a study of ranks changes the scale too;
            set ``alpha`` equal to the rank to hold it at 1.
        targets: which linear layers, by the last part of their name or by their full name; ``*`` matches anything.
        dropout: probability of dropping an input of A in training.
    """

    def __init__(
        self,
        *,
        rank: Annotated[int, Field(gt=0)] = 8,
        alpha: Annotated[float, Field(gt=0)] = 16.0,
        targets: Annotated[list[str], Field(min_length=1)] = ["q_proj", "k_proj", "v_proj"],  # noqa: B006
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.rank, self.scale, self.targets, self.dropout = rank, alpha / rank, targets, dropout

    def apply(self, model: nn.Module) -> nn.Module:
        """Freeze the model and wrap each linear layer that is a target.

        Raises:
            ConfigError: a target matches no linear layer, or one that shares its weight with the embedding.
        """
        linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        matched = {target: [name for name in linears if _matches(name, target)] for target in self.targets}
        available = sorted({name.rpartition(".")[2] for name in linears})
        problems = [
            f"adapter.targets: {target!r} matches no linear layer of the model. Choices: {choices(available)}."
            for target, names in matched.items()
            if not names
        ]
        chosen = {name for names in matched.values() for name in names}
        owners = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        problems += [
            f"adapter.targets: {name!r} shares its weight with an embedding; set model.tie_embeddings=false."
            for name in sorted(chosen)
            if any(linears[name].weight is owner.weight for owner in owners)
        ]
        if problems:
            raise ConfigError(problems)
        model.requires_grad_(False)
        for name in chosen:
            _replace(model, name, LoraLinear(linears[name], self.rank, self.scale, self.dropout))
        return model

    def merge(self, model: nn.Module) -> nn.Module:
        """Replace every wrapped layer by a plain one that computes the same."""
        for name, module in list(model.named_modules()):
            if isinstance(module, LoraLinear):
                _replace(model, name, module.merged())
        return model

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """The matrices A and B of every wrapped layer."""
        return {name: value for name, value in model.state_dict().items() if name.endswith(("lora_A", "lora_B"))}


def _matches(name: str, target: str) -> bool:
    return fnmatch(name, target) or fnmatch(name.rpartition(".")[2], target)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    model.get_submodule(parent).register_module(child, module)
