"""What adapters share that add an update of low rank to matrices of the base."""

import math
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Annotated, Any, ClassVar, TypedDict, Unpack

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.adapter.base import Adapter, is_tied
from lightning_tx.components.adapter.extension import Extension, twin
from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.core.schemes import Constant, Uniform, declare
from lightning_tx.kernels.autocast import without_autocast
from lightning_tx.kernels.dropout import Dropout
from lightning_tx.kernels.grouped_linear import GroupedLinear

Rank = Annotated[int, Field(gt=0)]
Alpha = Annotated[float, Field(gt=0)]


class LowRankOptions(TypedDict, total=False):
    """What is updated, and by how much.

    Args:
        rank: inner width r of the update.
        alpha: the update is scaled by alpha over a function of the rank, which is the component's.
        targets: which linear layers, by the last part of their name or by their full name; ``*`` matches anything.
        ranks: other ranks for some of the targets, by such a pattern; the last that matches counts.
        alphas: other values of alpha, in the same way.
        dropout: probability of dropping an input of A in training.
    """

    rank: Annotated[Rank, Field(default=8)]
    alpha: Annotated[Alpha, Field(default=16.0)]
    targets: Annotated[list[str], Field(default=["q_proj", "k_proj", "v_proj"], min_length=1)]
    ranks: Annotated[dict[str, Rank], Field(default={})]
    alphas: Annotated[dict[str, Alpha], Field(default={})]
    dropout: Annotated[float, Field(default=0.0, ge=0, lt=1)]


class LowRankLinear(Extension, nn.Linear):
    """A linear layer, frozen, with a trained update: ``W x + b + scale · B A dropout(x)``.

    A is drawn Kaiming-uniform with a = sqrt(5), as the paper's code does: a bound of 1 / sqrt(inputs). B starts at
    zero, so that nothing changes.
    """

    def extend(self, rank: int, scale: float, dropout: float) -> None:
        self.lora_A = nn.Parameter(self.weight.new_zeros(rank, self.in_features))
        self.lora_B = nn.Parameter(self.weight.new_zeros(self.out_features, rank))
        self.lora_scale, self.lora_dropout = scale, Dropout(dropout)
        self.declare(lora_A=Uniform(1 / math.sqrt(self.in_features)), lora_B=Constant(0.0, decays=True))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return super().forward(x) + self.update(x)

    def update(self, x: Tensor) -> Tensor:
        """``scale · B A dropout(x)``."""
        # The scale falls on the narrow product.
        return F.linear(F.linear(self.lora_dropout(x), self.lora_A) * self.lora_scale, self.lora_B)

    def updated_weight(self) -> Tensor:
        """``W + scale · B A`` in float32 at least."""
        return _updated(self.weight, self.lora_A, self.lora_B, self.lora_scale)

    def merged(self) -> nn.Module:
        """The original layer with the update folded in."""
        return _with_weight(self, self.updated_weight())


class LowRankGrouped(Extension, GroupedLinear):
    """The same for each layer of a group, such as the experts of a mixture: A [E, r, in] and B [E, out, r]."""

    def extend(self, rank: int, scale: float, dropout: float) -> None:
        like: Any = {"dtype": self.weight.dtype, "device": self.weight.device}
        self.lora_A = GroupedLinear(self.num_groups, self.in_features, rank).to(**like)
        self.lora_B = GroupedLinear(self.num_groups, rank, self.out_features).to(**like)
        self.lora_scale, self.lora_dropout = scale, Dropout(dropout)
        declare(self.lora_A, weight=Uniform(1 / math.sqrt(self.in_features)))
        declare(self.lora_B, weight=Constant(0.0, decays=True))

    def forward(self, x_NI: Tensor, counts_E: Tensor) -> Tensor:
        """Rows [N, in], sorted by group, to [N, out]."""
        return super().forward(x_NI, counts_E) + self.update(x_NI, counts_E)

    def update(self, x_NI: Tensor, counts_E: Tensor) -> Tensor:
        """``scale · B A dropout(x)``."""
        return self.lora_B(self.lora_A(self.lora_dropout(x_NI), counts_E) * self.lora_scale, counts_E)

    def updated_weight(self) -> Tensor:
        """``W + scale · B A`` of each layer, [E, out, in], in float32 at least."""
        return _updated(self.weight, self.lora_A.weight, self.lora_B.weight, self.lora_scale)

    def merged(self) -> nn.Module:
        """The original layers with the updates folded in."""
        return _with_weight(self, self.updated_weight())


class LowRank(Adapter):
    """Base of the adapters that train an update ``scale · B A`` of chosen matrices.

    A component writes :meth:`scale`, and may name other layers than these.

    Attributes:
        linear: what takes the place of a linear layer.
        grouped: what takes the place of a group of linear layers.
    """

    linear: ClassVar[type[LowRankLinear]] = LowRankLinear
    grouped: ClassVar[type[LowRankGrouped]] = LowRankGrouped

    def __init__(self, **options: Unpack[LowRankOptions]) -> None:
        super().__init__()
        chosen = with_defaults(LowRankOptions, options)
        self.rank: int = chosen["rank"]
        self.alpha: float = chosen["alpha"]
        self.dropout: float = chosen["dropout"]
        self.targets: list[str] = chosen["targets"]
        self.ranks: dict[str, int] = chosen["ranks"]
        self.alphas: dict[str, float] = chosen["alphas"]

    def scale(self, rank: int, alpha: float) -> float:
        """The factor on ``B A``."""
        raise NotImplementedError

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        """Each layer that is a target, with its update.

        Raises:
            ConfigError: a target matches no linear layer, or one that shares its weight with an embedding; a pattern
                of ``ranks`` or ``alphas`` matches no target.
        """
        layers = {
            name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | GroupedLinear)
        }
        chosen = [name for name in layers if any(_matches(name, target) for target in self.targets)]
        problems = _unmatched("adapter.targets", self.targets, layers, "linear layer of the model")
        problems += _unmatched("adapter.ranks", self.ranks, chosen, "target")
        problems += _unmatched("adapter.alphas", self.alphas, chosen, "target")
        problems += [
            f"adapter.targets: {name!r} shares its weight with an embedding; set model.tie_embeddings=false."
            for name in chosen
            if is_tied(model, layers[name].weight)
        ]
        if problems:
            raise ConfigError(problems)
        return {name: self._wrapped(name, layers[name]) for name in chosen}

    def _wrapped(self, name: str, layer: nn.Module) -> nn.Module:
        rank, alpha = _last_match(name, self.ranks, self.rank), _last_match(name, self.alphas, self.alpha)
        kind = self.grouped if isinstance(layer, GroupedLinear) else self.linear
        return kind.of(layer, rank, self.scale(rank, alpha), self.dropout)


def _updated(weight: Tensor, lora_A: Tensor, lora_B: Tensor, scale: float) -> Tensor:
    dtype = torch.promote_types(weight.dtype, torch.float32)
    with torch.no_grad(), without_autocast(weight.device):
        return weight.to(dtype) + scale * (lora_B.to(dtype) @ lora_A.to(dtype))


def _with_weight(layer: LowRankLinear | LowRankGrouped, weight: Tensor) -> nn.Module:
    plain = twin(layer.original, type(layer.original))
    plain.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    plain.bias = layer.bias
    return plain


def _matches(name: str, pattern: str) -> bool:
    return fnmatch(name, pattern) or fnmatch(name.rpartition(".")[2], pattern)


def _last_match(name: str, values: Mapping[str, Any], default: Any) -> Any:
    return next((value for pattern, value in reversed(list(values.items())) if _matches(name, pattern)), default)


def _unmatched(key: str, patterns: Any, names: Any, what: str) -> list[str]:
    last_parts = {name.rpartition(".")[2] for name in names}
    return [
        f"{key}: {pattern!r} matches no {what}. Choices: {choices(last_parts)}."
        for pattern in patterns
        if not any(_matches(name, pattern) for name in names)
    ]
