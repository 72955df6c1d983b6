"""The head of models that predict tokens."""

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.kernels.linear_cross_entropy import linear_cross_entropy
from lightning_tx.kernels.scores import capped
from lightning_tx.model.heads.base import Head


class LanguageModelHead(Head, nn.Linear):
    """A linear projection of states to scores over a vocabulary.

    Args:
        d_model: width of the states (D).
        vocab_size: entries of the vocabulary that stand for something.
        rows: rows of the projection (V), those that are there as padding included; None for ``vocab_size``.
        tied_to: the embedding whose weight it shares; None for a weight of its own.
        bias: whether it has a bias.
        logit_cap: bound on the scores, ``cap · tanh(score / cap)`` (Gemma Team 2024, arXiv:2408.00118); None for none.

    Attributes:
        vocab_size: entries of the vocabulary that stand for something; further rows are padding.
    """

    name = "lm_head"

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        *,
        rows: int | None = None,
        tied_to: nn.Embedding | None = None,
        bias: bool = False,
        logit_cap: float | None = None,
    ) -> None:
        super().__init__(d_model, vocab_size if rows is None else rows, bias=bias)
        self.vocab_size, self.logit_cap = vocab_size, logit_cap
        if tied_to is not None:
            self.weight = tied_to.weight

    def logits(self, x: Tensor) -> Tensor:
        """States [..., D] to scores over the vocabulary [..., V]; rows that are padding included."""
        scores = self(x)
        return scores if self.logit_cap is None else capped(scores, self.logit_cap)

    def cross_entropy(self, x_ND: Tensor, targets_N: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """The cross-entropy of states [N, D] with target ids [N], summed; never holds the logits of all of them."""
        if type(self).forward is nn.Linear.forward:
            options = {"label_smoothing": label_smoothing, "logit_cap": self.logit_cap}
            return linear_cross_entropy(x_ND, self.weight, self.bias, targets_N, **options)
        # An adapter has extended the projection: it is called as it is.
        logits = self.logits(x_ND).float()
        return F.cross_entropy(logits, targets_N, label_smoothing=label_smoothing, reduction="sum")
