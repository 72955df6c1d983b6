"""Adapters, and what stands outside of models, with one fault each."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.components.adapter.base import Adapter
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.measure import Measure
from lightning_tx.core.schemes import Normal
from lightning_tx.model.single_stack import SingleStack
from lightning_tx.schedule.base import Schedule
from lightning_tx.task.causal_lm import CausalLM
from lightning_tx.tokenizer.base import TokenizerTrainer
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


class StartsWithoutARate(Schedule):
    """Divides by the steps of a warm-up that it does not have."""

    def __init__(self, lr: float | None, max_steps: int, d_model: int) -> None:
        if lr is None:
            raise ConfigError("optimizer.lr: null")
        super().__init__(lr, max_steps, d_model)

    def __call__(self, step: int) -> float:
        return self.lr * (self.max_steps - step) / self.max_steps


class LosesSpaces(TokenizerTrainer):
    """A tokenizer of words that forgets what stood between them."""

    def train(self, texts: Iterable[str]) -> "LosesSpaces":
        self.words = sorted({word for text in texts for word in text.split()})
        self.vocab_size = len(self.words) + 4
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = range(4)
        return self

    def encode(self, text: str) -> list[int]:
        return [self.words.index(word) + 4 for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.words[each - 4] for each in ids)


class ForgetsMomentum(torch.optim.SGD):
    """Its state is not saved."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), lr=0.1, momentum=0.9)

    def load_state_dict(self, state_dict: dict) -> None:
        pass


class WithoutDirection(CausalLM):
    """A task whose measure does not say whether less of it is better."""

    measures = {"loss": Measure("down")}  # pyright: ignore[reportArgumentType]


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
    Fault("learning_rates_are_finite", "schedule", StartsWithoutARate, says="step 2"),
    Fault("texts_come_back", "tokenizer", LosesSpaces),
    Fault("optimizer_steps_and_resumes", "optimizer", ForgetsMomentum),
    Fault("task_says_what_is_better", "task", WithoutDirection, says="down"),
]
HONEST = [("adapter", LowRank)]
