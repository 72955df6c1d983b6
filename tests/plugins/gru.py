"""A topology without layers of ours: a recurrent encoder-decoder."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.core.context import Memory, Output
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.body import Body
from lightning_tx.model.generation import Generation, right_padded
from lightning_tx.model.parts import Parts
from lightning_tx.model.sizes import Sizes


class Recurrence(nn.Module):
    """A layer of gated recurrent units, its gates in the order of ``torch.nn.GRU``: reset, update, candidate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(width, 3 * width)
        self.state_proj = nn.Linear(width, 3 * width)

    def forward(self, x_BTD: Tensor, state_BD: Tensor, token_mask_BT: Tensor | None) -> Tensor:
        """The states [B, T, D] from a state on; padding leaves it as it is."""
        states = []
        for step, inputs in enumerate(self.in_proj(x_BTD).unbind(dim=1)):
            reset_x, update_x, new_x = inputs.chunk(3, dim=-1)
            reset_h, update_h, new_h = self.state_proj(state_BD).chunk(3, dim=-1)
            update = (update_x + update_h).sigmoid()
            new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
            after = (1 - update) * new + update * state_BD
            state_BD = after if token_mask_BT is None else torch.where(token_mask_BT[:, step, None], after, state_BD)
            states.append(state_BD)
        return torch.stack(states, dim=1)


@register("model", "gru")
class Gru(Body):
    """Encoder-decoder of gated recurrent units: the decoder starts with the state in which the encoder ends.

    Source: Cho et al. 2014, arXiv:1406.1078.

    Args:
        d_model: width of the states.
        max_seq_len: longest sequence it is trained on, in tokens; source and target each.
    """

    num_inputs = 2
    causal = True

    def __init__(
        self,
        parts: Parts,
        sizes: Sizes,
        *,
        d_model: Annotated[int, Field(gt=0)] = 128,
        max_seq_len: Annotated[int, Field(gt=0)] = 128,
    ) -> None:
        super().__init__()
        self.d_model, self.max_seq_len, self.embedding_std = d_model, max_seq_len, 1.0
        self.source_embedding = nn.Embedding(sizes.known("source_vocab_size"), d_model)
        self.token_embedding = nn.Embedding(sizes.known("vocab_size"), d_model)
        self.encoder, self.decoder = Recurrence(d_model), Recurrence(d_model)

    def forward(
        self,
        source_BS: Tensor,
        tokens_BT: Tensor,
        *,
        source_token_mask_BS: Tensor | None = None,
        token_mask_BT: Tensor | None = None,
        padding_last: bool = False,
    ) -> Output:
        memory, _ = self.encode(source_BS, source_token_mask_BS)
        mask = None if padding_last else token_mask_BT  # what comes after is not seen
        return Output(self.decoder(self.token_embedding(tokens_BT), memory.x_BSD[:, -1], mask))

    def encode(self, source_BS: Tensor, token_mask_BS: Tensor | None = None) -> tuple[Memory, Output]:
        x_BSD = self.source_embedding(source_BS)
        states = self.encoder(x_BSD, x_BSD.new_zeros(len(x_BSD), self.d_model), token_mask_BS)
        return Memory(states, token_mask_BS), Output(states)

    def begin(self, inputs: Sequence[Sequence[int]], *, bos_id: int, pad_id: int) -> Generation:
        memory, _ = self.encode(*right_padded(inputs, pad_id, self.device))
        tokens_BT = torch.full((len(inputs), 1), bos_id, device=self.device)
        return Generation(self, tokens_BT, token_mask_BT=None, memory=memory, never=[bos_id, pad_id])

    def room(self, inputs: Sequence[Sequence[int]]) -> list[int] | None:
        return None

    def advance(
        self, tokens_BT: Tensor, *, token_mask_BT: Tensor | None, cache: Cache, memory: Memory | None
    ) -> Output:
        assert memory is not None
        held = cache.state("decoder")
        state_BD = memory.x_BSD[:, -1] if held is None else held["state"]
        states = self.decoder(self.token_embedding(tokens_BT), state_BD, token_mask_BT)
        cache.replace("decoder", {"state": states[:, -1]})
        return Output(states)
