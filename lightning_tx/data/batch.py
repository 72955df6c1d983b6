"""What a language model is trained on in one step."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from torch import Tensor

#: The target of positions that are not to be predicted; the default ``ignore_index`` of PyTorch's cross-entropy.
IGNORE = -100


@dataclass(frozen=True)
class BatchSize:
    """How much one forward pass takes: a number of sequences, or a number of tokens, padding included.

    Attributes:
        sequences: rows of a batch, or pairs of them.
        tokens: tokens of a batch, those of source and target together.
    """

    sequences: int | None = None
    tokens: int | None = None

    def rows(self, length: int | np.ndarray) -> Any:
        """How many rows of ``length`` tokens (a number, or an array of them) a batch has; one at least."""
        if self.sequences is not None:
            return length * 0 + self.sequences
        assert self.tokens is not None
        return np.maximum(self.tokens // length, 1)


# Not frozen: at some precisions (bf16-true, 64-true) Lightning copies a batch field by field, which a frozen
# dataclass refuses. Not compared: the truth of an elementwise comparison is not defined.
@dataclass(eq=False)
class Tensors:
    """Base of batches: a record of tensors that moves as one. Treat it as read-only."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The batch with ``Tensor.to`` applied to every tensor. Lightning calls it to move a batch to its device."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> Self:
        """The batch in pinned memory, as ``DataLoader(pin_memory=True)`` asks for."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(tensor) for name, tensor in tensors.items() if tensor is not None})


@dataclass(eq=False)
class Batch(Tensors):
    """Rows of token ids and what is to be predicted from them.

    Attributes:
        tokens_BT: token ids, int64.
        targets_BT: id of the token to predict at each place, int64; ``IGNORE`` where there is none.
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


@dataclass(eq=False)
class TextBatch(Tensors):
    """Single texts, a row each, padded on the right.

    Attributes:
        tokens_BT: token ids, int64: ``<bos>``, the text, ``<eos>``.
        examples_B: number of each text in its split, int64.
        token_mask_BT: True at real tokens, False at padding; None where there is no padding.
        labels_B: what each text is labelled with, int64; None where the texts have no labels.
    """

    tokens_BT: Tensor
    examples_B: Tensor
    token_mask_BT: Tensor | None = None
    labels_B: Tensor | None = None


@dataclass(eq=False)
class PairBatch(Tensors):
    """Pairs of token rows: what is read, and what is to be written.

    Both sides are padded on the right. The written side needs no mask for attention: it is causal, so padding comes too
    late to be seen by what is real.

    Attributes:
        source_BS: token ids that are read, int64.
        tokens_BT: token ids written so far, int64: the target after ``<bos>``.
        targets_BT: id of the token to write next, int64; ``IGNORE`` at padding.
        examples_B: number of each pair in its split, int64.
        source_token_mask_BS: True at real tokens, False at padding; None where there is no padding.
    """

    source_BS: Tensor
    tokens_BT: Tensor
    targets_BT: Tensor
    examples_B: Tensor
    source_token_mask_BS: Tensor | None = None

    @property
    def num_targets(self) -> Tensor:
        """How many tokens are to be predicted: a scalar on the batch's device."""
        return (self.targets_BT != IGNORE).sum()
