"""What a model remembers between decoding steps: named tensors along time, and who they belong to."""

from collections.abc import Callable

import torch
from torch import Tensor


class Cache:
    """Keys, values or latents of the tokens seen so far, for every attention of a model; states of recurrent layers.

    One instance serves one generation: pass it to each forward pass with the new tokens only. Tensors are written in
    place into buffers that double when full, so use it without gradients.

    Attributes:
        length: number of time steps held.
    """

    def __init__(self) -> None:
        self.length = 0
        self._rows: dict[str, _Growing] = {}
        self._layers: dict[str, dict[str, _Growing]] = {}
        self._states: dict[str, dict[str, Tensor]] = {}
        self._memory: dict[str, dict[str, Tensor]] = {}

    def extend(self, new: int, **rows: Tensor | None) -> dict[str, Tensor | None]:
        """Make room for ``new`` time steps; append what is known of them, [B or 1, new] each, and return it for all.

        To be called once a forward pass, before the layers append their tensors.

        Raises:
            ValueError: not the same is known as of the tokens before.
        """
        given = sorted(name for name, row in rows.items() if row is not None)
        if self.length and given != sorted(self._rows):
            before, now = sorted(self._rows) or "nothing", given or "nothing"
            raise ValueError(
                f"A generation tells the same of all its tokens: earlier ones came with {before}, these with {now}."
            )
        self.length += new
        return {
            name: None if row is None else self._rows.setdefault(name, _Growing(dim=1)).append(row)
            for name, row in rows.items()
        }

    def append(self, site: str, tensors: dict[str, Tensor], *, keep: int | None = None) -> dict[str, Tensor]:
        """Append one layer's tensors [..., T, width] and return them for all tokens, [..., S, width].

        Args:
            site: the layer's name.
            tensors: those of the new tokens.
            keep: how many of the earlier tokens are still needed; the others are forgotten. None for all.
        """
        layer = self._layers.setdefault(site, {})
        return {name: layer.setdefault(name, _Growing(dim=-2)).append(new, keep) for name, new in tensors.items()}

    def replace(self, site: str, tensors: dict[str, Tensor]) -> None:
        """Keep tensors [B, ...] in place of those that were kept before: the state of a recurrent layer.

        Args:
            site: the layer's name.
            tensors: a row for each row of the batch.
        """
        self._states[site] = dict(tensors)

    def state(self, site: str) -> dict[str, Tensor] | None:
        """What :meth:`replace` was last given for a layer; None before the first time step."""
        return self._states.get(site)

    def once(self, site: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What ``make`` returned when it was first asked for: the projected memory of cross-attention."""
        if site not in self._memory:
            self._memory[site] = make()
        return self._memory[site]

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; rows may repeat (beams) or go (finished sequences)."""
        self.reorder(rows)
        for tensors in self._memory.values():
            for name, tensor in tensors.items():
                tensors[name] = tensor.index_select(0, rows)

    def reorder(self, rows: Tensor) -> None:
        """Like :meth:`select`, but each row is replaced by one that has the same memory, which can stay as it is."""
        for growing in self._rows.values():
            shared = growing.held.shape[0] == 1
            growing.select(torch.zeros_like(rows) if shared else rows)
        for layer in self._layers.values():
            for growing in layer.values():
                growing.select(rows)
        for state in self._states.values():
            for name, tensor in state.items():
                state[name] = tensor.index_select(0, rows)

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensors held for all tokens so far, spare room not counted."""
        held = [growing.held for layer in self._layers.values() for growing in layer.values()]
        kept = (*self._states.values(), *self._memory.values())
        held += [tensor for tensors in kept for tensor in tensors.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


class _Growing:
    """A tensor that grows along one dimension; its buffer doubles when full, so that appending is cheap on average."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.start = self.stop = 0
        self.buffer: Tensor | None = None

    @property
    def held(self) -> Tensor:
        assert self.buffer is not None
        return self.buffer.narrow(self.dim, self.start, self.stop - self.start)

    def append(self, new: Tensor, keep: int | None = None) -> Tensor:
        if keep is not None:
            self.start = max(self.start, self.stop - keep)
        stop = self.stop + new.shape[self.dim]
        if self.buffer is None or stop > self.buffer.shape[self.dim]:
            needed = stop - self.start
            shape = list(new.shape if self.buffer is None else self.buffer.shape)
            shape[self.dim] = max(needed, 2 * (self.stop - self.start))
            grown = torch.empty(shape, dtype=new.dtype, device=new.device)
            if self.buffer is not None:
                grown.narrow(self.dim, 0, self.stop - self.start).copy_(self.held)
            self.buffer, self.start, self.stop, stop = grown, 0, self.stop - self.start, needed
        self.buffer.narrow(self.dim, self.stop, new.shape[self.dim]).copy_(new)
        self.stop = stop
        return self.held

    def select(self, rows: Tensor) -> None:
        assert self.buffer is not None
        self.buffer = self.buffer.index_select(0, rows)
