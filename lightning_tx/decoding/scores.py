"""Reductions over a vocabulary, in few passes over it."""

import torch
from torch import Tensor

#: Width of the pieces in which a maximum is looked for.
PIECE = 64


def log_probability(logits_BV: Tensor, tokens_B: Tensor) -> Tensor:
    """Log-probability [B] of one token a row under ``softmax(logits)``."""
    return logits_BV.log_softmax(dim=-1).gather(1, tokens_B[:, None])[:, 0]


def best(x_BV: Tensor) -> Tensor:
    """``argmax`` of each row, [B]; on long rows a fraction of its time, as torch's own is not vectorised on the CPU."""
    pieces, rest = divmod(x_BV.shape[1], PIECE)
    if rest:
        return x_BV.argmax(dim=1)
    x_BPW = x_BV.view(-1, pieces, PIECE)
    piece_B1 = x_BPW.amax(dim=2).argmax(dim=1, keepdim=True)
    within_B1 = x_BPW.gather(1, piece_B1[:, :, None].expand(-1, -1, PIECE)).argmax(dim=2)
    return (piece_B1 * PIECE + within_B1)[:, 0]


def top(x_BV: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The largest entries of each row and where they are, as ``topk``: the pieces with the largest maxima hold them."""
    pieces, rest = divmod(x_BV.shape[1], PIECE)
    if rest or pieces <= number:
        return torch.topk(x_BV, number, dim=1)
    x_BPW = x_BV.view(-1, pieces, PIECE)
    chosen = x_BPW.amax(dim=2).topk(number, dim=1).indices
    found = x_BPW.gather(1, chosen[:, :, None].expand(-1, -1, PIECE)).flatten(1).topk(number, dim=1)
    piece = chosen.gather(1, found.indices // PIECE)
    return found.values, piece * PIECE + found.indices % PIECE
