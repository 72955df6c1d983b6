"""The head of models that sort examples into classes."""

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.model.heads.base import Head


class Classifier(Head, nn.Linear):
    """A linear projection of one state an example to scores of classes.

    Where a body gives a state a token, an example's state is the mean over its real tokens.

    Args:
        d_model: width of the states (D).
        num_classes: classes (C).
    """

    name = "classifier"

    def __init__(self, d_model: int, num_classes: int) -> None:
        super().__init__(d_model, num_classes)

    def logits(self, x: Tensor, token_mask_BT: Tensor | None = None) -> Tensor:
        """States [B, D], or [B, T, D] with a mask that is True at real tokens, to scores [B, C]."""
        return self(mean_state(x, token_mask_BT) if x.ndim == 3 else x)

    def cross_entropy(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """The cross-entropy of scores with labels [B], summed, in float32 at least."""
        return F.cross_entropy(logits_BC.float() if logits_BC.itemsize < 4 else logits_BC, labels_B, reduction="sum")


def mean_state(x_BTD: Tensor, token_mask_BT: Tensor | None) -> Tensor:
    """The mean [B, D] of the states of each row's real tokens; 0 for a row without any."""
    if token_mask_BT is None:
        return x_BTD.mean(dim=1)
    # Not a product: what stands at padding may be anything, infinite included.
    total = x_BTD.masked_fill(~token_mask_BT[:, :, None], 0).sum(dim=1)
    return total / token_mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
