from collections.abc import Sequence

from torch import Tensor

from lightning_tx.core.context import Memory, Output
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.body import MODEL
from lightning_tx.model.generation import Generation, check_lengths, left_padded
from lightning_tx.model.single_stack import SingleStack


@MODEL.register("decoder")
class Decoder(SingleStack):
    """Decoder-only: each token sees itself and those before it, as in GPT.

    Source: Radford et al. 2018 (GPT); Radford et al. 2019 (GPT-2).
    """

    name = "decoder"
    causal = True

    def begin(self, inputs: Sequence[Sequence[int]], *, bos_id: int, pad_id: int) -> Generation:
        """Read the prompts in one pass, padded on the left."""
        self.room(inputs)
        prompts = [row or [bos_id] for row in inputs]
        tokens_BT, token_mask_BT = left_padded(prompts, pad_id, self.device)
        return Generation(self, tokens_BT, token_mask_BT=token_mask_BT, memory=None, never=[bos_id, pad_id])

    def room(self, inputs: Sequence[Sequence[int]]) -> list[int] | None:
        """What the positions leave after the prompt; the last new token needs none, as nothing follows it."""
        limit = self.stack.max_positions
        check_lengths(inputs, limit, "prompt")
        return None if limit is None else [limit + 1 - max(len(row), 1) for row in inputs]

    def advance(
        self, tokens_BT: Tensor, *, token_mask_BT: Tensor | None, cache: Cache, memory: Memory | None
    ) -> Output:
        """New tokens [B, T] to their states [B, T, D]; there is no memory."""
        return self(tokens_BT, token_mask_BT=token_mask_BT, cache=cache)
