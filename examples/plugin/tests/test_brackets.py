import re
from pathlib import Path

from ltx_brackets.brackets import Brackets

from lightning_tx.testing import conformance

test_conforms = conformance("data/brackets")


def test_every_bracket_is_closed_by_its_like() -> None:
    splits = Brackets(size=1000, kinds=2, depth=3, length=10).load(Path())
    texts = [*splits.train, *splits.validation, *splits.test]
    assert len(set(texts)) == len(texts) > 800
    assert min(map(len, (splits.train, splits.validation, splits.test))) > 20
    for text in texts:
        left, rounds = text, 0
        while (shorter := re.sub(r"(\(\)|\[\])+", "", left)) != left:  # takes out what is closed at once
            left, rounds = shorter, rounds + 1
        assert left == "" and rounds <= 3 and 10 <= len(text) <= 20


def test_the_same_strings_come_every_time() -> None:
    assert Brackets(size=200).load(Path()).digest == Brackets(size=200).load(Path()).digest


def test_too_few_strings_are_refused() -> None:
    (problem,) = Brackets(kinds=1, depth=1).problems()
    assert problem.startswith("data.depth: ")
