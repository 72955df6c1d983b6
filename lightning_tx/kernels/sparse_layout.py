"""How the parts of a pattern are cut into pieces: batches of small dense attentions that a kernel can run."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import lcm

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.kernels.masks import BiasFunction, Mask, added_to_scores
from lightning_tx.kernels.pattern import Columns, Near, Part, Residues

#: Queries that look at columns together.
CHUNK = 1024
#: Blocks are at least this long, so that a kernel has something to do.
SMALLEST_BLOCK = 64

View = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tokens:
    """What a mask has to know of tokens, each [B or 1, 1, T, 1], so that a view of keys is one of these too."""

    positions: Tensor
    documents: Tensor | None
    token_mask: Tensor | None

    def at(self, select: View) -> "Tokens":
        """Those that ``select`` picks."""
        documents, token_mask = (None if each is None else select(each) for each in (self.documents, self.token_mask))
        return Tokens(select(self.positions), documents, token_mask)


@dataclass(frozen=True)
class Piece:
    """Dense attentions of one shape.

    Attributes:
        queries: a view of [B, H, T, K] as [B, N, H, t, K]: N groups of t queries.
        keys: the same for the keys and values of ``source``, [B, N, H, s, K].
        source: 0 for all keys, i for those that the i-th part made of columns picks.
        owner: index of the part whose pairs it computes, of those that no part before it has; None for all its pairs.
        alike: whether all groups allow the same pairs.
    """

    queries: View
    keys: View
    source: int
    owner: int | None
    alike: bool


class Layout:
    """The pieces of a pattern's parts under a mask.

    Attributes:
        padding: tokens to add at the end of queries, keys and values, so that they can be cut.
        pieces: together they compute every allowed pair once.
        columns: for each part made of columns, a function that picks them from all keys [B, H, T, K].
    """

    def __init__(self, parts: Sequence[Part], mask: Mask) -> None:
        self.parts, self.causal = parts, mask.causal
        length = mask.q_positions.shape[-1]
        unit = lcm(1, *(_unit(part) for part in parts))
        self.padding = -length % unit
        self._regular = mask.in_order and (mask.causal or not self.padding)
        self._device = mask.q_positions.device
        self._tokens = _tokens(mask, self.padding)
        self.columns: list[View] = []
        self.pieces = [piece for owner in range(len(parts)) for piece in self._pieces(owner, length + self.padding)]

    def mask(
        self, piece: Piece, bias: BiasFunction | None, dtype: torch.dtype, *, bias_is_relative: bool = True
    ) -> Tensor | None:
        """What to add to the scores of a piece, [B or 1, N or 1, H or 1, t, s]; None for nothing.

        Where a bias is relative, and all groups allow the same pairs, that of the first stands for all of them.
        """
        every_q, every_k = self._tokens.at(piece.queries), self._source(piece.source).at(piece.keys)
        q, k = (x.at(_first_group) if piece.alike else x for x in (every_q, every_k))
        allowed = None if piece.owner is None else self._allowed(piece.owner, q, k)
        added = None
        if bias is not None:
            biased = (q, k) if bias_is_relative else (every_q, every_k)
            q_positions, k_positions = (x.positions[:, :, 0].to(self._device) for x in biased)
            added = bias(q_positions, k_positions.transpose(-1, -2))
        if allowed is None or (piece.alike and bool(allowed.all())):
            return None if added is None else added.to(dtype)
        return added_to_scores(allowed.to(self._device), added, dtype)

    def _allowed(self, owner: int, q: Tokens, k: Tokens) -> Tensor:
        q_positions, k_positions = q.positions, k.positions.transpose(-1, -2)
        allowed = self.parts[owner].allows(q_positions, k_positions)
        for before in self.parts[:owner]:
            allowed = allowed & ~before.allows(q_positions, k_positions)
        if self.causal:
            allowed = allowed & (k_positions <= q_positions)
        if q.documents is not None and k.documents is not None:
            allowed = allowed & (q.documents == k.documents.transpose(-1, -2))
        if k.token_mask is not None:
            allowed = allowed & k.token_mask.transpose(-1, -2)
        return allowed

    def _source(self, source: int) -> Tokens:
        return self._tokens if source == 0 else self._tokens.at(self.columns[source - 1])

    def _pieces(self, owner: int, length: int) -> Iterator[Piece]:
        match self.parts[owner]:
            case Near() as part:
                yield from self._near(part, owner)
            case Residues() as part:
                view = partial(_residues, stride=part.stride)
                yield Piece(view, view, 0, owner, self._regular)
            case Columns() as part if self._regular:
                yield from self._regular_columns(part, owner, length)
            case Columns() as part:
                yield from self._gathered_columns(part, owner, length)

    def _near(self, part: Near, owner: int) -> Iterator[Piece]:
        own, later, earlier = (
            partial(_blocks, size=_unit(part), which=which) for which in (slice(None), slice(1, None), slice(-1))
        )
        pairs = [(own, own), (later, earlier)] + ([] if self.causal else [(earlier, later)])
        for queries, keys in pairs:
            piece = Piece(queries, keys, 0, owner, self._regular)
            if self._tokens.at(queries).positions.numel() and not (self._regular and self._is_empty(piece)):
                yield piece

    def _is_empty(self, piece: Piece) -> bool:
        assert piece.owner is not None
        q, k = (self._tokens.at(view).at(_first_group) for view in (piece.queries, piece.keys))
        return not self._allowed(piece.owner, q, k).any()

    def _regular_columns(self, part: Columns, owner: int, length: int) -> Iterator[Piece]:
        """Positions are 0, 1, 2, …: what is far from a chunk of queries needs no mask, unless another part has it."""
        index = part.chosen(self._tokens.positions[0, 0, :, 0]).nonzero()[:, 0]
        self.columns.append(partial(_select, index=index))
        places, before = index.tolist(), self.parts[:owner]
        only_near = all(isinstance(other, Near) for other in before)
        reach = max([other.reach for other in before if isinstance(other, Near)], default=1) if only_near else length
        for start in range(0, length, CHUNK):
            stop = min(start + CHUNK, length)
            past = bisect_left(places, start - reach + 1)
            future = bisect_left(places, stop if self.causal else stop - 1 + reach)
            spans = [(0, past, None), (past, future, owner)] + ([] if self.causal else [(future, len(places), None)])
            for first, last, owned in spans:
                if first < last:
                    queries, keys = (partial(_span, start=a, stop=b) for a, b in ((start, stop), (first, last)))
                    yield Piece(queries, keys, len(self.columns), owned, alike=True)

    def _gathered_columns(self, part: Columns, owner: int, length: int) -> Iterator[Piece]:
        """Each row has columns of its own."""
        tokens = self._tokens
        chosen = part.chosen(tokens.positions)
        chosen = (chosen if tokens.token_mask is None else chosen & tokens.token_mask)[:, 0, :, 0]
        stops = [min(start + CHUNK, length) for start in range(0, length, CHUNK)]
        counts = chosen.cumsum(dim=1)[:, [stop - 1 for stop in stops]].amax(dim=0).tolist()
        index = chosen.int().argsort(dim=1, descending=True, stable=True)[:, : counts[-1]]
        self.columns.append(partial(gather_rows, index=index))
        for start, stop, count in zip(range(0, length, CHUNK), stops, counts, strict=True):
            last = count if self.causal else counts[-1]
            if last:
                queries, keys = (partial(_span, start=a, stop=b) for a, b in ((start, stop), (0, last)))
                yield Piece(queries, keys, len(self.columns), owner, alike=False)


def _unit(part: Part) -> int:
    """What the length must be a multiple of."""
    match part:
        case Near():
            return part.reach * -(-SMALLEST_BLOCK // part.reach)
        case Residues():
            return part.stride
    return 1


def _tokens(mask: Mask, padding: int) -> Tokens:
    positions, documents, token_mask = known_positions(mask), mask.q_documents, mask.k_token_mask
    if padding:
        length = positions.shape[-1]
        if mask.in_order:
            positions = torch.arange(length + padding, device=positions.device)[None]
        else:
            positions = F.pad(positions, (0, padding))
        documents = None if documents is None else F.pad(documents, (0, padding), value=-1)
        if token_mask is None and not (mask.in_order and mask.causal):
            token_mask = torch.ones(1, length, dtype=torch.bool, device=positions.device)
        token_mask = None if token_mask is None else F.pad(token_mask, (0, padding), value=False)
    shaped = (None if each is None else each[:, None, :, None] for each in (documents, token_mask))
    return Tokens(positions[:, None, :, None], *shaped)


def known_positions(mask: Mask) -> Tensor:
    """The positions of the queries; on the meta device, where costs are counted, those that a sequence in order has."""
    if mask.in_order and mask.q_positions.is_meta:
        return torch.arange(mask.q_positions.shape[-1], device="cpu")[None]
    return mask.q_positions


def _select(x: Tensor, index: Tensor) -> Tensor:
    return x.index_select(2, index.to(x.device))


def _blocks(x: Tensor, size: int, which: slice) -> Tensor:
    return x.unflatten(2, (-1, size)).transpose(1, 2)[:, which]


def _residues(x: Tensor, stride: int) -> Tensor:
    return x.unflatten(2, (-1, stride)).permute(0, 3, 1, 2, 4)


def _span(x: Tensor, start: int, stop: int) -> Tensor:
    return x[:, None, :, start:stop]


def in_one_group(x: Tensor) -> Tensor:
    """All tokens [B, H, T, K] as one group, [B, 1, H, T, K]."""
    return x[:, None]


def _first_group(x: Tensor) -> Tensor:
    return x[:, :1]


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """The tokens [B, H, M, K] of x [B or 1, H, T, K] at an index [B or 1, M]."""
    rows, heads, _, width = x.shape
    rows = max(rows, index.shape[0])
    return x.expand(rows, -1, -1, -1).gather(2, index[:, None, :, None].expand(rows, heads, -1, width))
