import torch.nn.functional as F
from torch import Tensor

from lightning_tx.components.feed_forward.base import FEED_FORWARD, Gated


@FEED_FORWARD.register("geglu_tanh")
class GEGLUTanh(Gated):
    """``W2 (GELU(Wg x) · W1 x)`` with the GELU approximated by a tanh, as in T5 1.1 and Gemma.

    Source: Shazeer 2020, arXiv:2002.05202.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))) / 2``."""
        return F.gelu(x, approximate="tanh")
