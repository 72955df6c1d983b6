import torch.nn.functional as F
from torch import Tensor

from lightning_tx.components.feed_forward.base import FEED_FORWARD, Plain


@FEED_FORWARD.register("gelu")
class GELU(Plain):
    """``W2 GELU(W1 x)``: two matrices around a GELU.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415; as in GPT-2 and BERT.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``x Φ(x)``, exact."""
        return F.gelu(x)
