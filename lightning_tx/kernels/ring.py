"""The processes that share a sequence: who holds which tokens, and how tensors go round."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.masks import Mask
from lightning_tx.kernels.pattern import Pattern

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

#: Queries or keys of a piece at most, so that no mask or score of a whole shard is made.
BLOCK = 1024
#: Above every position and document.
BEYOND = 2**62


@dataclass(frozen=True)
class Piece:
    """Queries of this process and keys of a shard that are computed at once.

    Attributes:
        queries: of this process's tokens.
        keys: of the shard's tokens.
        everything: whether each of the queries sees each of the keys.
    """

    queries: slice
    keys: slice
    everything: bool


class Flight:
    """Tensors on their way from the process before, while this one's are on their way to the next.

    Args:
        requests: the transfers under way.
        sent: kept alive until they are through.
        arriving: what is being received.
    """

    def __init__(self, requests: Sequence["dist.Work"], sent: Sequence[Tensor], arriving: Sequence[Tensor]) -> None:
        self._requests, self._sent, self._arriving = requests, sent, arriving

    def wait(self) -> Sequence[Tensor]:
        """What has arrived, once all of it has."""
        for request in self._requests:
            request.wait()
        self._sent = ()
        return self._arriving


class Ring:
    """A group of processes that hold the tokens of one batch, each its shard; made once a forward pass.

    What masks are made of, some integers a token, is known to all processes from the start; keys and values, which
    take the memory, go round with :meth:`pass_on`.

    Args:
        group: the processes; each must make a ring at the same time, and pass on as often as the others.
        mask: this process's tokens looking at themselves. Positions and documents are those in the whole sequence.
        rows: rows of the batch (B).

    Attributes:
        size: number of processes.
        rank: this process's number in the group.

    Raises:
        ConfigError: the processes hold different numbers of rows or tokens, or only some of them tell documents,
            padding or positions by row. Every process raises it.
    """

    def __init__(self, group: "ProcessGroup", mask: Mask, rows: int) -> None:
        self.group, self.size, self.rank = group, group.size(), group.rank()
        self._next = dist.get_global_rank(group, (self.rank + 1) % self.size)
        self._previous = dist.get_global_rank(group, (self.rank - 1) % self.size)
        self._check(mask, rows)
        held = {"k_positions": mask.k_positions, "k_documents": mask.k_documents, "k_token_mask": mask.k_token_mask}
        known = {name: gathered(tensor, group) for name, tensor in held.items() if tensor is not None}
        self._masks = [
            replace(mask, in_order=False, **{name: shards[rank] for name, shards in known.items()})
            for rank in range(self.size)
        ]
        self._passed = 0
        self._pieces: dict[Pattern | None, list[list[Piece]]] = {}

    def mask(self, rank: int, pattern: Pattern | None) -> Mask:
        """Which keys of a process's shard this one's queries may look at."""
        return self._masks[rank].within(pattern)

    def last_position(self) -> int:
        """The greatest position that any process holds."""
        return int(torch.stack([mask.k_positions.max() for mask in self._masks]).max())

    def pieces(self, rank: int, pattern: Pattern | None) -> list[Piece]:
        """What has to be computed of this process's queries and the keys of a process's shard."""
        if pattern not in self._pieces:
            self._pieces[pattern] = self._cut(pattern)
        return self._pieces[pattern][rank]

    def pass_on(self, tensors: Sequence[Tensor]) -> Flight:
        """Send contiguous tensors to the next process, and receive as many of the same shapes from the one before."""
        arriving = [torch.empty_like(x) for x in tensors]
        tags = range(self._passed, self._passed + len(tensors))  # several flights may be under way
        self._passed += len(tensors)
        sends = [dist.P2POp(dist.isend, x, self._next, self.group, tag) for tag, x in zip(tags, tensors, strict=True)]
        receives = [
            dist.P2POp(dist.irecv, x, self._previous, self.group, tag) for tag, x in zip(tags, arriving, strict=True)
        ]
        return Flight(dist.batch_isend_irecv([*sends, *receives]), tensors, arriving)

    def _check(self, mask: Mask, rows: int) -> None:
        held = {
            "rows": rows,
            "tokens": mask.k_positions.shape[-1],
            "rows of positions": mask.k_positions.shape[0],
            "documents": int(mask.k_documents is not None),
            "token masks": int(mask.k_token_mask is not None),
        }
        numbers = torch.tensor(list(held.values()), device=mask.k_positions.device)
        everyone = [shard.tolist() for shard in gathered(numbers, self.group)]
        problems = [
            f"group: the processes hold {', '.join(map(str, seen))} {name}; it must be as many everywhere."
            for name, seen in zip(held, zip(*everyone, strict=True), strict=True)
            if len(set(seen)) > 1
        ]
        if problems:
            raise ConfigError(problems)

    def _cut(self, pattern: Pattern | None) -> list[list[Piece]]:
        blocks = _blocks(self._masks[0].k_positions.shape[-1])
        kinds = torch.stack([_kinds(mask.within(pattern), blocks) for mask in self._masks]).tolist()  # one wait for all
        return [
            [
                Piece(queries, keys, everything=kind == 2)
                for queries, row in zip(blocks, shard, strict=True)
                for keys, kind in zip(blocks, row, strict=True)
                if kind > 0
            ]
            for shard in kinds
        ]


def gathered(own: Tensor, group: "ProcessGroup") -> list[Tensor]:
    """The tensors of all processes of a group, of one shape, in their order; without gradients."""
    sent = own.detach().to(torch.uint8 if own.dtype == torch.bool else own.dtype).contiguous()
    shards = [torch.empty_like(sent) for _ in range(group.size())]
    dist.all_gather(shards, sent, group=group)
    return [shard.to(own.dtype) for shard in shards]


def _blocks(length: int) -> list[slice]:
    """An even number of blocks, where there are enough tokens: a shard may consist of two halves that lie far apart."""
    number = min(2 * -(-length // (2 * BLOCK)), length)
    ends = [length * (block + 1) // number for block in range(number)]
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _kinds(mask: Mask, blocks: Sequence[slice]) -> Tensor:
    """For each block of queries and block of keys: 0 if none may look at any, 2 if all may look at all, else 1.

    [blocks, blocks] in uint8. Told by the smallest and greatest position and document of a block; 1 in doubt.
    """
    q_first, q_last = (bound[:, :, None] for bound in _bounds(mask.q_positions, None, blocks))
    k_first, k_last = (bound[:, None, :] for bound in _bounds(mask.k_positions, mask.k_token_mask, blocks))
    some = (k_first <= k_last).expand(-1, len(blocks), -1)  # not padding alone
    every = torch.ones_like(some) if mask.pattern is None else torch.zeros_like(some)
    if mask.causal:
        ahead = 0 if mask.pattern is None else mask.pattern.prefix
        some = some & ((k_first <= q_last) | (k_first < ahead))
        every = every & (k_last <= q_first)
    if mask.pattern is not None and mask.pattern.reach is not None:
        some = some & (q_first - k_last < mask.pattern.reach) & (k_first - q_last < mask.pattern.reach)
    if mask.k_token_mask is not None:
        every = every & torch.stack([mask.k_token_mask[:, block].all(dim=1) for block in blocks], dim=1)[:, None, :]
    if mask.q_documents is not None and mask.k_documents is not None:
        q_low, q_high = (bound[:, :, None] for bound in _bounds(mask.q_documents, None, blocks))
        k_low, k_high = (bound[:, None, :] for bound in _bounds(mask.k_documents, mask.k_token_mask, blocks))
        some = some & (k_low <= q_high) & (q_low <= k_high)
        every = every & (q_low == q_high) & (k_low == k_high) & (q_low == k_low)
    return some.any(dim=0).to(torch.uint8) + (some & every).all(dim=0)


def _bounds(values: Tensor, real: Tensor | None, blocks: Sequence[slice]) -> tuple[Tensor, Tensor]:
    """The smallest and the greatest of the real ones in each block, [B or 1, blocks] each."""
    low = high = values.long()
    if real is not None:
        low, high = low.masked_fill(~real, BEYOND), high.masked_fill(~real, -BEYOND)
    return (
        torch.stack([low[:, block].amin(dim=1) for block in blocks], dim=1),
        torch.stack([high[:, block].amax(dim=1) for block in blocks], dim=1),
    )
