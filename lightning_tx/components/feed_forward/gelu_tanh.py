import torch.nn.functional as F
from torch import Tensor

from lightning_tx.components.feed_forward.base import FEED_FORWARD, Plain


@FEED_FORWARD.register("gelu_tanh")
class GELUTanh(Plain):
    """``W2 GELU(W1 x)`` with the GELU approximated by a tanh, as the published weights of GPT-2 want it.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))) / 2``."""
        return F.gelu(x, approximate="tanh")
