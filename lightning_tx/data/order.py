"""The order in which the rows of a token stream are seen."""

import numpy as np

from lightning_tx.core.errors import ConfigError


class ShuffledOrder:
    """Where rows start in training: full batches, another cut and another order in each epoch."""

    def __init__(self, num_tokens: int, seq_len: int, batch_size: int, seed: int) -> None:
        # One row fewer than could fit, so that all epochs are equally long wherever the first row starts.
        self._num_rows = max(num_tokens - seq_len, 0) // seq_len
        self.num_batches = self._num_rows // batch_size
        if self.num_batches == 0:
            raise ConfigError(
                f"trainer.batch_size: {batch_size} rows of model.max_seq_len {seq_len} tokens need a training split of "
                f"{(batch_size + 1) * seq_len} tokens, and this one has {num_tokens}."
            )
        self.batch_size = batch_size
        self._seq_len = seq_len
        # A row needs one token more than it has, for its last target.
        self._num_shifts = num_tokens - self._num_rows * seq_len
        self._seed = seed

    def offsets(self, epoch: int) -> np.ndarray:
        """Place of every row's first token, int64 [batches · batch size], in the order of the epoch."""
        generator = np.random.default_rng([self._seed, epoch])
        shift = generator.integers(self._num_shifts)
        return shift + generator.permutation(self._num_rows)[: self.num_batches * self.batch_size] * self._seq_len


class SequentialOrder:
    """Where rows start in evaluation: one after the other, from the start to the last target."""

    def __init__(self, num_tokens: int, seq_len: int, batch_size: int) -> None:
        num_rows = -(-max(num_tokens - 1, 0) // seq_len)
        self._offsets = np.arange(num_rows) * seq_len
        self.num_batches = -(-num_rows // batch_size)
        self.batch_size = batch_size

    def offsets(self, epoch: int) -> np.ndarray:
        """Place of every row's first token, int64; the same in every epoch."""
        return self._offsets
