"""A topology that gives one state an example: the mean of its tokens' embeddings."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.core.context import Output
from lightning_tx.model.body import Body
from lightning_tx.model.heads.classifier import mean_state
from lightning_tx.model.parts import Parts
from lightning_tx.model.sizes import Sizes


@register("model", "bag_of_words")
class BagOfWords(Body):
    """The mean of the embeddings of an example's tokens, whatever their order.

    Source: Joulin et al. 2016, arXiv:1607.01759.

    Args:
        d_model: width of the state.
        max_seq_len: longest sequence it is trained on, in tokens.
    """

    causal = False
    pooled = True

    def __init__(
        self,
        parts: Parts,
        sizes: Sizes,
        *,
        d_model: Annotated[int, Field(gt=0)] = 32,
        max_seq_len: Annotated[int, Field(gt=0)] = 128,
    ) -> None:
        super().__init__()
        self.d_model, self.max_seq_len = d_model, max_seq_len
        self.token_embedding = nn.Embedding(sizes.known("vocab_size"), d_model)

    def forward(self, tokens_BT: Tensor, *, token_mask_BT: Tensor | None = None) -> Output:
        return Output(mean_state(self.token_embedding(tokens_BT), token_mask_BT))
