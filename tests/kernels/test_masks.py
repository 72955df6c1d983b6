import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_tx.kernels.masks import Mask, positions_in_rows
from lightning_tx.kernels.pattern import Pattern

CPU = torch.device("cpu")


class EvenDistance(Pattern):
    reach = 3

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (q_positions - k_positions) % 2 == 0


class FromEven(Pattern):
    """Not symmetric: only tokens at even positions look at others."""

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (q_positions % 2 == 0) | (q_positions == k_positions)


class Everywhere(Pattern):
    def __init__(self, prefix: int = 0) -> None:
        self.prefix = prefix

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> None:
        return None


INGREDIENTS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"causal": True},
    "pattern": {"pattern": EvenDistance()},
    "pattern in one direction": {"pattern": FromEven()},
    "causal pattern in one direction": {"pattern": FromEven(), "causal": True},
    "pattern of full attention": {"pattern": Everywhere(), "causal": True},
    "left padding": {"k_token_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]).bool(), "causal": True},
    "right padding": {"k_token_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()},
    "documents": {
        "q_documents": torch.tensor([[0, 0, 1, 1, 2], [0, 0, 0, 0, 1]]),
        "k_documents": torch.tensor([[0, 0, 1, 1, 2], [0, 0, 0, 0, 1]]),
        "causal": True,
    },
    "prefix": {"pattern": Everywhere(prefix=2), "causal": True},
}


def may_attend(mask: Mask, b: int, t: int, s: int) -> bool:
    """The definition, entry by entry."""

    def of(rows: Tensor, index: int) -> Any:
        return rows[b % rows.shape[0], index].item()

    q, k = of(mask.q_positions, t), of(mask.k_positions, s)
    allowed = not mask.causal or k <= q
    if mask.pattern is not None:
        allowed = allowed or k < mask.pattern.prefix
    if isinstance(mask.pattern, EvenDistance):
        allowed = allowed and abs(q - k) % 2 == 0
    if isinstance(mask.pattern, FromEven):
        allowed = allowed and (q % 2 == 0 or (k % 2 == 0 and not mask.causal) or q == k)
    if mask.q_documents is not None and mask.k_documents is not None:
        allowed = allowed and of(mask.q_documents, t) == of(mask.k_documents, s)
    if mask.k_token_mask is not None:
        allowed = allowed and of(mask.k_token_mask, s)
    return allowed


@pytest.mark.parametrize("ingredients", INGREDIENTS.values(), ids=INGREDIENTS)
def test_dense_follows_the_definition(ingredients: dict[str, Any]) -> None:
    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 0, 1]])
    mask = Mask(q_positions=positions, k_positions=positions, **({"causal": False} | ingredients))
    dense = mask.dense().expand(2, 1, 5, 5)
    for b, t, s in itertools.product(range(2), range(5), range(5)):
        assert dense[b, 0, t, s].item() == may_attend(mask, b, t, s), (b, t, s)


def test_queries_may_be_fewer_than_keys() -> None:
    mask = Mask(q_positions=torch.tensor([[3, 4]]), k_positions=torch.arange(5)[None], causal=True)
    assert mask.dense().int().tolist() == [[[[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]]]


def test_within_narrows_by_a_pattern() -> None:
    positions = torch.arange(4)[None]
    mask = Mask(q_positions=positions, k_positions=positions, causal=True, in_order=True)
    assert mask.within(None) is mask
    narrowed = mask.within(EvenDistance())
    assert narrowed.dense()[0, 0].int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]]


def counted(token_mask: list[bool], documents: list[int]) -> list[int]:
    """Positions of one row, counted token by token: real tokens of a document from 0; 0 for padding before them."""
    positions: list[int] = []
    count = 0
    for index, (real, document) in enumerate(zip(token_mask, documents, strict=True)):
        if index == 0 or document != documents[index - 1]:
            count = 0
        count += real
        positions.append(max(count - 1, 0))
    return positions


def test_positions_count_real_tokens_of_each_document() -> None:
    generator = torch.Generator().manual_seed(0)
    token_mask = torch.rand(50, 12, generator=generator) < 0.7
    documents = (torch.rand(50, 12, generator=generator) < 0.3).long().cumsum(dim=1)
    expected = [counted(*row) for row in zip(token_mask.tolist(), documents.tolist(), strict=True)]
    found = positions_in_rows(12, token_mask=token_mask, documents=documents, device=CPU)
    assert found.tolist() == expected
    expected = [counted([True] * 12, row) for row in documents.tolist()]
    assert positions_in_rows(12, documents=documents, device=CPU).tolist() == expected
    expected = [counted(row, [0] * 12) for row in token_mask.tolist()]
    assert positions_in_rows(12, token_mask=token_mask, device=CPU).tolist() == expected
    assert positions_in_rows(12, device=CPU).tolist() == [list(range(12))]


CONSECUTIVE: dict[str, tuple[bool, dict[str, Any]]] = {
    "in order": (True, {"k_positions": torch.arange(6)[None], "in_order": True}),
    "from anywhere": (True, {"k_positions": torch.arange(7, 13)[None]}),
    "left padding": (
        True,
        {"k_positions": torch.tensor([[0, 0, 0, 1, 2, 3]]), "k_token_mask": torch.tensor([[0, 0, 1, 1, 1, 1]]).bool()},
    ),
    "right padding": (
        True,
        {"k_positions": torch.tensor([[0, 1, 2, 3, 3, 3]]), "k_token_mask": torch.tensor([[1, 1, 1, 1, 0, 0]]).bool()},
    ),
    "padding in the middle": (
        False,
        {"k_positions": torch.tensor([[0, 1, 1, 1, 2, 3]]), "k_token_mask": torch.tensor([[1, 1, 0, 0, 1, 1]]).bool()},
    ),
    "documents": (
        True,
        {"k_positions": torch.tensor([[0, 1, 2, 0, 1, 0]]), "k_documents": torch.tensor([[0, 0, 0, 1, 1, 2]])},
    ),
    "a jump": (False, {"k_positions": torch.tensor([[0, 1, 2, 4, 5, 6]])}),
    "backwards": (False, {"k_positions": torch.tensor([[5, 4, 3, 2, 1, 0]])}),
}


@pytest.mark.parametrize(("expected", "ingredients"), CONSECUTIVE.values(), ids=CONSECUTIVE)
def test_consecutive_positions_are_recognised(expected: bool, ingredients: dict[str, Any]) -> None:
    mask = Mask(q_positions=ingredients["k_positions"], causal=True, **ingredients)
    assert mask.consecutive is expected
    counted = "k_token_mask" in ingredients or mask.in_order
    # Only keys that no later query can look at may be forgotten.
    assert mask.needed(EvenDistance()) == (2 if counted and expected else None)
    assert mask.needed(FromEven()) is None


def test_a_mask_of_the_last_keys_is_the_end_of_the_whole() -> None:
    token_mask = torch.tensor([[0, 1, 1, 1, 1, 1]]).bool()
    positions = torch.tensor([[0, 0, 1, 2, 3, 4]])
    mask = Mask(q_positions=positions[:, -2:], k_positions=positions, causal=True, k_token_mask=token_mask)
    assert torch.equal(mask.last_keys(4).dense(), mask.dense()[..., -4:])
    assert mask.last_keys(6) is mask


def test_what_is_made_of_a_mask_is_made_once() -> None:
    mask = Mask(q_positions=torch.arange(4)[None], k_positions=torch.arange(4)[None], causal=True)
    assert mask.once("dense", mask.dense) is mask.once("dense", mask.dense)
    assert replace(mask, causal=False).once("dense", lambda: "another") == "another"
