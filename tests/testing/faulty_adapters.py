"""Adapters with one fault each, and a model that cannot be built at its own size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.components.adapter.base import Adapter
from lightning_tx.core.schemes import Normal
from lightning_tx.model.single_stack import SingleStack
from tests.testing.planted import Fault


class Updated(nn.Linear):
    """A linear layer with an update of rank 2."""

    def __init__(self, linear: nn.Linear, start: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.down = nn.Parameter(linear.weight.new_zeros(2, linear.in_features))
        self.up = nn.Parameter(linear.weight.new_zeros(linear.out_features, 2))
        self.initial = {"down": Normal(0.3), "up": Normal(start)}

    def update(self) -> Tensor:
        return 0.5 * self.up @ self.down

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + self.update(), self.bias)


class LowRank(Adapter):
    """An update of rank 2 of every query projection; the others are this and a fault."""

    start = 0.0
    scale = 1.0
    names: tuple[str, ...] = ("down", "up")

    def apply(self, model: nn.Module) -> nn.Module:
        model.requires_grad_(False)
        for layer in list(model.modules()):
            for name, linear in list(layer.named_children()):
                if name == "q_proj":
                    setattr(layer, name, self.wrapped(linear))
        return model

    def wrapped(self, linear: nn.Module) -> nn.Module:
        assert isinstance(linear, nn.Linear)
        return Updated(linear, self.start)

    def merge(self, model: nn.Module) -> nn.Module:
        for layer in list(model.modules()):
            for name, module in list(layer.named_children()):
                if isinstance(module, Updated):
                    linear = nn.Linear(module.in_features, module.out_features, bias=False)
                    linear.weight = nn.Parameter(module.weight.detach() + self.scale * module.update().detach())
                    setattr(layer, name, linear)
        return model

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: value for name, value in model.state_dict().items() if name.endswith(self.names)}


class StartsElsewhere(LowRank):
    start = 0.3


class MergesWithoutItsScale(LowRank):
    scale = 2.0


class DoesNotMerge(LowRank):
    def merge(self, model):
        return model


class TrainsItsBase(LowRank):
    def apply(self, model):
        super().apply(model)
        model.token_embedding.requires_grad_(True)
        return model


class SavesHalf(LowRank):
    names = ("up",)


class WithARandomBuffer(LowRank):
    """The down projection is a buffer of random numbers that is not saved."""

    names = ("up",)

    def wrapped(self, linear: nn.Module) -> nn.Module:
        updated = super().wrapped(linear)
        del updated.down
        updated.register_buffer("down", torch.randn(2, linear.in_features, dtype=linear.weight.dtype), persistent=False)
        return updated


class Fixed(SingleStack):
    """A decoder that cannot be built beyond 16 dimensions."""

    name = "decoder"
    causal = True

    def __init__(self, parts, tokenizer_size: int | None, *, d_model: int = 128, vocab_size: int = 50) -> None:
        if d_model > 16:
            raise ValueError(f"{d_model} dimensions are too many")
        super().__init__(parts, tokenizer_size, d_model=d_model, vocab_size=vocab_size)


FAULTS = [
    Fault("adapter_starts_as_its_base", "adapter", StartsElsewhere),
    Fault("merged_is_wrapped", "adapter", MergesWithoutItsScale),
    Fault("merged_is_wrapped", "adapter", DoesNotMerge, says="merged, the model still has"),
    Fault("adapter_alone_is_trained", "adapter", TrainsItsBase, says="token_embedding.weight"),
    Fault("adapter_alone_is_trained", "adapter", SavesHalf, says="not saved"),
    Fault("adapter_state_is_enough", "adapter", WithARandomBuffer),
]
HONEST = [("adapter", LowRank)]
