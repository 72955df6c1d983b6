"""Rows of a token stream: of equal length, across documents, as tensors; or one text each, padded."""

import numpy as np
import torch

from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.data.corpus import EncodedSplit


class Rows:
    """Cuts rows of ``seq_len`` tokens out of a split. No Python loop runs over rows or tokens.

    Args:
        split: the tokens.
        seq_len: tokens in a row.
    """

    def __init__(self, split: EncodedSplit, seq_len: int) -> None:
        # A plain view of the mapped file: indexing a np.memmap itself costs more.
        self._tokens = np.asarray(split.tokens)
        self._starts = split.starts
        self._pad_id = split.pad_id
        self._columns = np.arange(seq_len + 1)

    def __call__(self, offsets: np.ndarray) -> Batch:
        """The rows that start at the given places of the stream.

        Args:
            offsets: place of each row's first token, int64 [B]; what a row lacks at the end of the stream is padded.

        Returns:
            A batch in which no target crosses from one document into the next.
        """
        length, seq_len = len(self._tokens), len(self._columns) - 1
        index = offsets[:, None] + self._columns
        beyond = index >= length if index[:, -1].max() >= length else None
        if beyond is None:
            window = self._tokens[index].astype(np.int64)
        else:
            window = np.where(beyond, self._pad_id, self._tokens[np.minimum(index, length - 1)]).astype(np.int64)
        targets = window[:, 1:].copy()
        rows, columns = self._borders(offsets)
        targets[rows, columns - 1] = IGNORE
        inside = columns < seq_len
        positions, documents = self._documents(len(offsets), rows[inside], columns[inside])
        token_mask = None
        if beyond is not None:
            targets[beyond[:, 1:]] = IGNORE
            padding = beyond[:, :-1]
            token_mask = ~padding if padding.any() else None
            if positions is not None:
                positions[padding] = 0
        return Batch(
            torch.from_numpy(window[:, :-1].copy()),
            torch.from_numpy(targets),
            None if positions is None else torch.from_numpy(positions),
            None if documents is None else torch.from_numpy(documents),
            None if token_mask is None else torch.from_numpy(token_mask),
        )

    def _borders(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of every document start after a row's first token, the row's last target included."""
        first = np.searchsorted(self._starts, offsets, side="right")
        counts = np.searchsorted(self._starts, offsets + len(self._columns) - 1, side="right") - first
        rows = np.repeat(np.arange(len(offsets)), counts)
        before = np.cumsum(counts) - counts
        which = np.arange(len(rows)) + (first - before)[rows]
        return rows, self._starts[which] - offsets[rows]

    def _documents(
        self, num_rows: int, rows: np.ndarray, columns: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Positions and document numbers [B, T] of rows in which documents start at the given places."""
        if len(rows) == 0:
            return None, None
        start_columns = np.zeros((num_rows, len(self._columns) - 1), np.int64)
        start_columns[rows, columns] = columns
        positions = self._columns[:-1] - np.maximum.accumulate(start_columns, axis=1)
        return positions, np.cumsum(start_columns > 0, axis=1)


def padded_window(
    tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray, max_seq_len: int, pad_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Stretches of a token stream side by side, padded on the right to the longest; no Python loop runs over them.

    Args:
        tokens: the stream.
        starts: place of each stretch's first token, int64 [B].
        lengths: how many tokens each has, int64 [B].
        max_seq_len: longer ones are cut, their last token kept.
        pad_id: fills up the shorter ones.

    Returns:
        Token ids, int64 [B, T], and where they are real, bool [B, T].
    """
    cut = np.minimum(lengths, max_seq_len)
    columns = np.arange(cut.max())
    real = columns < cut[:, None]
    # Where a row was cut, its last column is its last token all the same.
    index = np.where(columns < cut[:, None] - 1, columns, lengths[:, None] - 1)
    window = tokens[starts[:, None] + index].astype(np.int64)
    return np.where(real, window, pad_id), real
