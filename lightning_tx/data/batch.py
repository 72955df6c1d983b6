"""What a language model is trained on in one step."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from torch import Tensor

#: The target of positions that are not to be predicted; the default ``ignore_index`` of PyTorch's cross-entropy.
IGNORE = -100


# Not frozen: at some precisions (bf16-true, 64-true) Lightning copies a batch field by field, which a frozen
# dataclass refuses. Not compared: the truth of an elementwise comparison is not defined.
@dataclass(eq=False)
class Batch:
    """Rows of token ids and what is to be predicted from them. Treat it as read-only.

    Attributes:
        tokens_BT: token ids, int64.
        targets_BT: id of the token that follows, int64; ``IGNORE`` where there is none to predict.
        positions_BT: position of each token in its document's part of the row, int64; None where no row holds a
            border between documents, so that the positions of every row are 0, 1, 2, ….
        documents_BT: number of each token's document within its row, int64, from 0; None where ``positions_BT`` is.
        token_mask_BT: True at real tokens, False at padding; None where there is no padding.
    """

    tokens_BT: Tensor
    targets_BT: Tensor
    positions_BT: Tensor | None = None
    documents_BT: Tensor | None = None
    token_mask_BT: Tensor | None = None

    @property
    def num_targets(self) -> Tensor:
        """How many tokens are to be predicted: a scalar on the batch's device, so that nothing has to wait for it."""
        return (self.targets_BT != IGNORE).sum()

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The batch with ``Tensor.to`` applied to every tensor. Lightning calls it to move a batch to its device."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> Self:
        """The batch in pinned memory, as ``DataLoader(pin_memory=True)`` asks for."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(tensor) for name, tensor in tensors.items() if tensor is not None})
