"""Single texts in tokens, with labels if they have some, and batches of them that are about equally long."""

import numpy as np
import torch

from lightning_tx.data.batch import BatchSize, TextBatch
from lightning_tx.data.bucketing import ByLength
from lightning_tx.data.corpus import EncodedSplit
from lightning_tx.data.rows import padded_window


class TextRows:
    """Puts encoded texts together to padded batches. No Python loop runs over rows or tokens.

    Args:
        split: the texts.
        max_seq_len: longer rows are cut, ``<eos>`` kept.
        labels: what each text is labelled with, integers [N]; None for texts without labels.

    Attributes:
        lengths: tokens of each text, ``<bos>`` and ``<eos>`` counted, before cutting; int64.
    """

    def __init__(self, split: EncodedSplit, max_seq_len: int, labels: np.ndarray | None = None) -> None:
        if labels is not None and len(labels) != split.num_documents:
            raise ValueError(f"There are {len(labels)} labels for {split.num_documents} texts.")
        # A plain view of the mapped file: indexing a np.memmap itself costs more.
        self._tokens, self._starts, self._pad_id = np.asarray(split.tokens), split.starts, split.pad_id
        self._limit, self._labels = max_seq_len, labels
        self.lengths = np.diff(self._starts, append=len(self._tokens))

    def __call__(self, examples: np.ndarray) -> TextBatch:
        """The batch of these texts, int64 [B]."""
        tokens, real = padded_window(
            self._tokens, self._starts[examples], self.lengths[examples], self._limit, self._pad_id
        )
        return TextBatch(
            torch.from_numpy(tokens),
            torch.from_numpy(examples.astype(np.int64)),
            None if real.all() else torch.from_numpy(real),
            None if self._labels is None else torch.from_numpy(self._labels[examples].astype(np.int64)),
        )


class PaddedBatches(ByLength[TextBatch]):
    """Batches of texts, a row each, sorted by length and cut where a batch is full; see :class:`ByLength`.

    Args:
        split: the texts.
        labels: what each text is labelled with, integers [N]; None for texts without labels.
        max_seq_len: longest row, in tokens.
        batch: what a batch holds: that many texts, or that many tokens, padding counted.
        seed: of the order; not negative.
        shuffle: True for training, False for evaluation.

    Raises:
        ConfigError: there is no text, or none that is short enough, to be trained on.
    """

    def __init__(
        self,
        split: EncodedSplit,
        labels: np.ndarray | None = None,
        *,
        max_seq_len: int,
        batch: BatchSize,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        rows = TextRows(split, max_seq_len, labels)
        super().__init__(
            rows, [rows.lengths], what="text", max_seq_len=max_seq_len, batch=batch, seed=seed, shuffle=shuffle
        )
