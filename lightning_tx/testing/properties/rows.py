"""Rows of a batch know nothing of each other, of padding, and of other documents."""

import torch
from torch import Tensor

from lightning_tx.testing.property import holds
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import require_close, seeded

EXACT = 1e-9
#: Ids that padding positions are filled with.
FILLERS = (7, 23)


@holds(
    kin="company",
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="a mean or a norm over the batch dimension, or capacity that all rows share.",
)
def rows_are_independent(subject: Subject) -> None:
    """A row's states do not depend on the other rows of its batch, in evaluation and in training without dropout."""
    for model, mode in ((subject.model, "evaluation"), (subject.copy().train(), "training")):
        with seeded(0):
            together = subject.states(subject.ids, model=model, **_sources(subject))
        for row in range(len(subject.ids)):
            one = slice(row, row + 1)
            with seeded(0):
                alone = subject.states(subject.ids[one], model=model, **_sources(subject, one))
            require_close(together[one], alone, EXACT, f"in {mode} the states of row {row} in a batch and alone")


@holds(
    kin="company",
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="keys at padding that are attended to, or positions that count it (cumsum(token_mask) - 1 does not).",
)
def padding_on_the_left(subject: Subject) -> None:
    """Padding before the tokens changes nothing, whatever it is filled with."""
    _padded(subject, "left")


@holds(
    kin="company",
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="keys at padding that are attended to (in an encoder), or a mean over the row that counts it.",
)
def padding_on_the_right(subject: Subject) -> None:
    """Padding after the tokens changes nothing, whatever it is filled with."""
    _padded(subject, "right")


@holds(
    kin="company",
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="attention or statistics that cross from one document to the next, or positions that go on counting.",
)
def packed_documents(subject: Subject) -> None:
    """Documents packed into one row have the states that each has by itself, also between padding."""
    subject.needs_documents()
    lengths = [4, 1, 5, subject.length - 10]
    ids = subject.ids[:2]
    documents = torch.tensor([i for i, length in enumerate(lengths) for _ in range(length)], device=subject.device)
    documents = documents[None].expand(2, -1)
    packed = subject.states(ids, documents_BT=documents)
    for i, (own, found) in enumerate(zip(ids.split(lengths, dim=1), packed.split(lengths, dim=1), strict=True)):
        require_close(found, subject.states(own), EXACT, f"the states of document {i} packed and alone")
    mask = torch.ones_like(documents, dtype=torch.bool)
    mask[:, [0, 9]] = False
    mask[:, 11:] = False
    padded = subject.states(ids, documents_BT=documents, token_mask_BT=mask)
    for i, here in enumerate(([1, 2, 3], [4], [5, 6, 7, 8], [10])):
        alone = subject.states(ids[:, here])
        require_close(padded[:, here], alone, EXACT, f"the states of document {i} packed with padding and alone")


def _padded(subject: Subject, side: str) -> None:
    width = subject.ids.shape[1]
    lengths = [width, width - 5, 1]
    ids = [row[None, :length] for row, length in zip(subject.ids, lengths, strict=True)]
    sources = [row[None, :length] for row, length in zip(subject.source, [7, 3, 1], strict=True)]
    for filler in FILLERS:
        batch, mask = _batch(ids, side, filler)
        arguments = {}
        if subject.has_source:
            padded_sources, source_mask = _batch(sources, side, filler)
            arguments = {"source_BS": padded_sources, "source_token_mask_BS": source_mask}
        states = subject.states(batch, token_mask_BT=mask, **arguments)
        for row, own in enumerate(ids):
            alone = subject.states(own, **({"source_BS": sources[row]} if subject.has_source else {}))
            what = f"the states of {own.shape[1]} tokens with {width - own.shape[1]} of padding (id {filler}) and alone"
            require_close(subject.of_tokens(states[row], mask[row]), alone[0], EXACT, what)


def _batch(rows: list[Tensor], side: str, filler: int) -> tuple[Tensor, Tensor]:
    width = max(row.shape[1] for row in rows)
    ids = rows[0].new_full((len(rows), width), filler)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for i, row in enumerate(rows):
        here = slice(width - row.shape[1], width) if side == "left" else slice(0, row.shape[1])
        ids[i, here], mask[i, here] = row[0], True
    return ids, mask


def _sources(subject: Subject, rows: slice = slice(None)) -> dict[str, Tensor]:
    return {"source_BS": subject.source[rows]} if subject.has_source else {}
