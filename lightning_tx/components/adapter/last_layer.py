import copy
from typing import Annotated, cast

from pydantic import Field
from torch import nn

from lightning_tx.components.adapter.base import ADAPTER, Adapter, Model, is_tied, stacks_of
from lightning_tx.core.errors import ConfigError


@ADAPTER.register("last_layer")
class LastLayer(Adapter):
    """Trains the last layers, the last norm and the head of a frozen base, or some of them.

    The last layers are those of the stack next to the output: of an encoder-decoder, the decoder's. They are copies,
    so that several of these adapters can share a base. Merged, they stay where they are, frozen.

    Source: Howard and Ruder 2018, arXiv:1801.06146, who compare with training the last layer alone.

    Args:
        num_layers: how many layers are trained; 0 for none.
        final_norm: whether the norm after the last layer is trained, where the stack has one.
        head: whether the head is trained; not where it shares the embedding's weight.
    """

    def __init__(
        self, *, num_layers: Annotated[int, Field(ge=0)] = 1, final_norm: bool = True, head: bool = False
    ) -> None:
        super().__init__()
        self.num_layers, self.final_norm, self.head = num_layers, final_norm, head

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        """Copies of the modules that are trained.

        Raises:
            ConfigError: there are fewer layers, the head shares its weight with an embedding, or nothing is trained.
        """
        head, problems = cast(Model, model).head, []
        chosen: dict[str, nn.Module] = {}
        if self.num_layers or self.final_norm:
            where, stack = list(stacks_of(model).items())[-1]
            depth = len(stack.layers)
            if self.num_layers > depth:
                problems.append(f"adapter.num_layers: {self.num_layers} is more than the {depth} layers of {where}.")
            numbers = range(max(0, depth - self.num_layers), depth)
            chosen |= {f"{where}.layers.{number}": stack.layers[number] for number in numbers}
            if self.final_norm:
                chosen[f"{where}.final_norm"] = stack.final_norm
        if self.head and any(is_tied(model, parameter) for parameter in head.parameters()):
            problems.append(
                f"adapter.head: true, but {head.name} shares its weight with an embedding; "
                "set model.tie_embeddings=false."
            )
        if problems:
            raise ConfigError(problems)
        if self.head:
            chosen[str(head.name)] = head
        trained = {name: module for name, module in chosen.items() if any(True for _ in module.parameters())}
        if not trained:
            raise ConfigError("adapter.name: last_layer has nothing to train; set num_layers, final_norm or head.")
        return {name: copy.deepcopy(module) for name, module in trained.items()}
