import copy
from typing import Annotated

from pydantic import Field
from torch import nn

from lightning_tx.components.adapter.base import ADAPTER, Adapter, is_tied
from lightning_tx.core.errors import ConfigError


@ADAPTER.register("last_layer")
class LastLayer(Adapter):
    """Trains the last layers, the last norm and the output projection of a frozen base, or some of them.

    The last layers are those of the stack next to the output: of an encoder-decoder, the decoder's. They are copies,
    so that several of these adapters can share a base. Merged, they stay where they are, frozen.

    Source: Howard and Ruder 2018, arXiv:1801.06146, who compare with training the last layer alone.

    Args:
        num_layers: how many layers are trained; 0 for none.
        final_norm: whether the norm after the last layer is trained, where the stack has one.
        head: whether the projection to the vocabulary is trained; not where it shares the embedding's weight.
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
        modules = dict(model.named_modules())
        stack = [name.rpartition(".")[0] for name in modules if name.endswith(".layers")][-1]
        depth = len(list(modules[f"{stack}.layers"].children()))
        problems = []
        if self.num_layers > depth:
            problems.append(f"adapter.num_layers: {self.num_layers} is more than the {depth} layers of the {stack}.")
        if self.head and is_tied(model, modules["lm_head"].weight):
            problems.append(
                "adapter.head: true, but lm_head shares its weight with an embedding; set model.tie_embeddings=false."
            )
        if problems:
            raise ConfigError(problems)
        names = [f"{stack}.layers.{layer}" for layer in range(depth - self.num_layers, depth)]
        names += [f"{stack}.final_norm"] * self.final_norm + ["lm_head"] * self.head
        trained = [name for name in names if any(True for _ in modules[name].parameters())]
        if not trained:
            raise ConfigError("adapter.name: last_layer has nothing to train; set num_layers, final_norm or head.")
        return {name: copy.deepcopy(modules[name]) for name in trained}
