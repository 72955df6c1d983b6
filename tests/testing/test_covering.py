"""Every pair that may meet meets, in few rows."""

from itertools import product

import pytest

from lightning_tx.testing.baseline import BASELINE
from lightning_tx.testing.combinations import Combinations, excluded_pairs
from lightning_tx.testing.covering import all_pairs, covering_array, pairs_of
from lightning_tx.testing.suite import default_choices

FACTORS = {"a": ["1", "2", "3", "4"], "b": ["x", "y", "z"], "c": ["+", "-"], "d": ["p", "q", "r", "s"], "e": ["0", "1"]}


def pair(*choices: tuple[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(choices)


def test_every_pair_is_covered_in_few_rows() -> None:
    rows, missing = covering_array(FACTORS)
    assert missing == []
    assert set().union(*map(pairs_of, rows)) == set(all_pairs(FACTORS))
    assert 16 <= len(rows) <= 20  # no fewer can hold the 16 pairs of a and d; all rows there are would be 192
    assert all(row.keys() == FACTORS.keys() for row in rows)
    assert rows == covering_array(FACTORS)[0]


def test_excluded_pairs_do_not_meet_and_all_others_do() -> None:
    excluded = {pair(("a", "1"), ("b", "x")), pair(("a", "1"), ("b", "y")), pair(("c", "+"), ("d", "p"))}
    rows, missing = covering_array(FACTORS, excluded=excluded)
    assert missing == []
    assert set().union(*map(pairs_of, rows)) == set(all_pairs(FACTORS)) - excluded


def test_a_row_that_is_not_valid_is_replaced() -> None:
    def valid(row):
        return not (row["a"] == "1" and row["b"] == "x" and row["c"] == "+")

    def fallback(wanted):
        """The first row that there is, found by trying all."""
        rows = (dict(zip(FACTORS, row, strict=True)) for row in product(*FACTORS.values()))
        return next((row for row in rows if valid(row) and wanted <= set(row.items())), None)

    rows, missing = covering_array(FACTORS, valid=valid, fallback=fallback)
    assert missing == [] and all(map(valid, rows))
    assert set().union(*map(pairs_of, rows)) == set(all_pairs(FACTORS))
    never, missing = covering_array(FACTORS, valid=lambda row: row["a"] != "1")
    assert {("a", "1")} == set.intersection(*map(set, missing)) and never


def test_pairs_of_components_that_do_not_go_together_are_named_with_the_reason() -> None:
    choices = {
        "attention": [{"name": "multi_head"}, {"label": "nothing", "name": "none"}],
        "adapter": [{"name": "none"}, {"label": "small_lora", "name": "lora", "rank": 1}],
        "norm": [{"name": "rmsnorm"}, {"name": "none"}],
    }
    (found,) = excluded_pairs(choices)
    first, second, reason = found
    assert (first, second) == (("attention", "nothing"), ("adapter", "small_lora"))
    assert reason.startswith("adapter.targets: 'q_proj'")


@pytest.mark.parametrize(
    "groups", [("positions", "attention", "norm"), ("block", "feed_forward", "adapter", "attention")]
)
def test_every_pair_of_registered_components_that_can_meet_does(groups: tuple[str, ...]) -> None:
    choices = {group: labels for group, labels in default_choices().items() if group in groups}
    combined = Combinations(choices, topologies=["decoder", "encoder"])
    rows = combined.rows()
    met = set().union(*map(pairs_of, rows))
    assert met == set(all_pairs(combined.factors)) - set(combined.excluded)
    assert all(combined.refused(row) is None for row in rows)


def test_what_a_row_leaves_out_is_the_baseline() -> None:
    combined = Combinations({"norm": {"rms": {"name": "rmsnorm", "eps": 1e-3}}})
    assert combined.parts({"norm": "rms", "model": "decoder"}) == {**BASELINE, "norm": {"name": "rmsnorm", "eps": 1e-3}}
