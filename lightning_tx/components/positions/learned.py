from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.positions.base import POSITIONS, Positions
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Normal, declare


@POSITIONS.register("learned")
class Learned(Positions):
    """One trained vector per position, added to the embedding. There is none past ``max_seq_len``.

    Source: Gehring et al. 2017, arXiv:1705.03122; as in GPT-2 and BERT.

    Args:
        std: standard deviation at initialisation.
    """

    def __init__(self, dims: Dims, site: Site, *, std: Annotated[float, Field(ge=0)] = 0.02) -> None:
        super().__init__(dims, site)
        self.max_positions = dims.max_seq_len
        self.embedding = nn.Embedding(dims.max_seq_len, dims.d_model)
        declare(self.embedding, weight=Normal(std))

    def embed(self, x_BTD: Tensor, positions_BT: Tensor) -> Tensor:
        """``x + E[positions]``.

        Raises:
            ConfigError: the batch is longer than ``max_seq_len``.
        """
        if x_BTD.shape[1] > self.embedding.num_embeddings:
            raise ConfigError(
                f"positions=learned knows {self.embedding.num_embeddings} positions (model.max_seq_len), "
                f"but the sequence has {x_BTD.shape[1]} tokens."
            )
        return x_BTD + self.embedding(positions_BT)
