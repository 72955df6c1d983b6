from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.core.context import Output
from lightning_tx.model.body import Body
from lightning_tx.model.parts import Parts
from lightning_tx.model.sizes import Sizes

Size = Annotated[int, Field(gt=0)]


@register("model", "my_component")
class MyComponent(Body):
    """Layers that each look at a token and at the one before it: ``x + tanh(W [x, before])``.

    Args:
        d_model: width of the states.
        num_layers: depth; a state depends on as many tokens before it.
        max_seq_len: longest sequence it is trained on, in tokens.
    """

    causal = True
    packs_documents = True

    def __init__(
        self, parts: Parts, sizes: Sizes, *, d_model: Size = 64, num_layers: Size = 4, max_seq_len: Size = 128
    ) -> None:
        super().__init__()
        self.d_model, self.max_seq_len = d_model, max_seq_len
        self.token_embedding = nn.Embedding(sizes.known("vocab_size"), d_model)
        self.layers = nn.ModuleList(nn.Linear(2 * d_model, d_model) for _ in range(num_layers))

    def forward(self, tokens_BT: Tensor, *, positions_BT=None, documents_BT=None, token_mask_BT=None) -> Output:
        """Token ids [B, T] to states [B, T, D]; nothing crosses from one document into the next."""
        seen = torch.ones_like(tokens_BT[:, 1:], dtype=torch.bool)
        if documents_BT is not None:
            seen = documents_BT[:, 1:] == documents_BT[:, :-1]
        if token_mask_BT is not None:
            seen = seen & token_mask_BT[:, :-1]
        x_BTD = self.token_embedding(tokens_BT)
        for layer in self.layers:
            before = F.pad(x_BTD[:, :-1].masked_fill(~seen[:, :, None], 0), (0, 0, 1, 0))
            x_BTD = x_BTD + layer(torch.cat([x_BTD, before], dim=-1)).tanh()
        return Output(x_BTD)
