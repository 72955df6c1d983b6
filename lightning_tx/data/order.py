"""The order in which the rows of a token stream are seen."""

import numpy as np

from lightning_tx.core.errors import ConfigError


class ShuffledOrder:
    """Where the rows of one rank start, in training: full batches, another cut and another order in each epoch."""

    def __init__(self, num_tokens: int, seq_len: int, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        # One row fewer than could fit, so that all epochs are equally long wherever the first row starts.
        self._num_rows = max(num_tokens - seq_len, 0) // seq_len
        self.num_batches = self._num_rows // (batch_size * world_size)
        if self.num_batches == 0:
            devices = f" on each of {world_size} devices" if world_size > 1 else ""
            raise ConfigError(
                f"trainer.batch_size: {batch_size} rows{devices} of model.max_seq_len {seq_len} tokens need a training "
                f"split of {(batch_size * world_size + 1) * seq_len} tokens, and this one has {num_tokens}."
            )
        self.batch_size = batch_size
        self._seq_len = seq_len
        # A row needs one token more than it has, for its last target.
        self._num_shifts = num_tokens - self._num_rows * seq_len
        self._seed = seed
        self._rank = rank
        self._world_size = world_size

    def offsets(self, epoch: int) -> np.ndarray:
        """Place of every row's first token, int64 [batches · batch size], in the order of the epoch."""
        generator = np.random.default_rng([self._seed, epoch])
        shift = generator.integers(self._num_shifts)
        rows = generator.permutation(self._num_rows)[: self.num_batches * self._world_size * self.batch_size]
        # Step by step the ranks take turns, so that together they see in each step what one device would.
        share = rows.reshape(self.num_batches, self._world_size, self.batch_size)[:, self._rank].reshape(-1)
        return shift + share * self._seq_len


class SequentialOrder:
    """Where the rows of one rank start, in evaluation: one after the other, from the start to the last target."""

    def __init__(self, num_tokens: int, seq_len: int, batch_size: int, rank: int, world_size: int) -> None:
        num_targets = max(num_tokens - 1, 0)
        num_rows = -(-num_targets // seq_len)
        self._offsets = np.arange(num_rows)[rank::world_size] * seq_len
        self.num_batches = -(-len(self._offsets) // batch_size)
        self.batch_size = batch_size

    def offsets(self, epoch: int) -> np.ndarray:
        """Place of every row's first token, int64; the same in every epoch."""
        return self._offsets
