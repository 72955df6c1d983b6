from dataclasses import replace

import pytest

from lightning_tx.studies.factors import Factor
from lightning_tx.studies.looks import Look, look_at
from lightning_tx.studies.ordering import Trend
from lightning_tx.studies.power import MOST_SEEDS
from lightning_tx.studies.statistics import (
    BETTER,
    EQUIVALENT,
    INCONCLUSIVE,
    NO_SHARED_SEED,
    NOT_MATCHED,
    Effect,
)
from lightning_tx.studies.wording import context_words, finding, trend_words, untested
from tests.studies.studies import noisy

LOOK = look_at([3])
#: Three seeds of real runs: gqa against mha.
GQA = Effect(
    "attention", "gqa", "mha", INCONCLUSIVE, 0.0105, -0.0080, 0.0290, 0.0043, 2.0, 0.13, 0.13, num_pairs=9,
    num_seeds=3, num_agreeing=3, detectable=0.0311,
)  # fmt: skip


def test_an_unsettled_effect_claims_no_more_than_it_has():
    assert finding(GQA, LOOK, 3) == (
        "attention: gqa − mha = +0.011, 95 % -0.008 to +0.029 over 3 seeds (higher at 3 of 3): not settled, at most "
        "0.029 either way; with 3 seeds only differences above about 0.031 show."
    )


def test_interval_beyond_zero_that_is_still_not_settled_is_explained():
    beyond, later = replace(GQA, low=0.002), "keeps a share of the 5 % for later looks)"
    assert f"(the interval stands alone; the verdict counts 3 comparisons and {later}" in finding(beyond, LOOK, 3)
    assert f"(the interval stands alone; the verdict {later}" in finding(beyond, LOOK, 1)
    assert "stands alone" not in finding(GQA, LOOK, 3)
    second = look_at([3, 5])
    assert "95 % over 2 looks" in finding(beyond, second, 3)
    assert "the verdict counts 3 comparisons)" in finding(beyond, second, 3)


def test_settled_effects():
    assert finding(replace(GQA, verdict=BETTER), LOOK, 1).endswith("(higher at 3 of 3): better.")
    assert finding(replace(GQA, verdict=EQUIVALENT, margin=0.05), LOOK, 1).endswith("equivalent within 0.05.")


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (12, "a difference of 0.01 is found in 80 % of studies with 12 seeds in all."),
        (MOST_SEEDS + 1, f"a difference of 0.01 needs more than {MOST_SEEDS} seeds."),
        (3, "with 3 seeds only differences above about 0.031 show."),
    ],
)
def test_advice_comes_from_the_margin(needed, words):
    assert finding(replace(GQA, margin=0.01, seeds_needed=needed), LOOK, 1).endswith(words)


def test_two_seeds():
    wide = replace(GQA, low=float("-inf"), high=float("inf"), num_seeds=2, num_agreeing=2, detectable=None)
    assert finding(wide, Look(2, 0.0, 0.0), 1).endswith(
        "over 2 seeds (higher at 2 of 2): not settled; two seeds settle nothing."
    )


def test_contexts_are_named_where_they_are_not_everything():
    table = noisy({"attention": ["mha", "gqa"], "positions": ["none", "rope"]}, 2)
    assert context_words(replace(GQA, contexts=(("positions", ("none",)),)), table) == " (beside positions=none only)"
    assert context_words(replace(GQA, contexts=(("positions", ("none", "rope")),)), table) == ""


def test_trend():
    trend = Trend("adapter.rank", "doubling", -0.0512, -0.0612, -0.0412)
    assert trend_words(trend, LOOK) == "adapter.rank: -0.051 per doubling, 95 % -0.061 to -0.041."


def test_what_is_missing_for_a_comparison():
    factor = Factor("norm", ("norm",), ("none", "rmsnorm"), {})
    table = noisy({"norm": ["none", "rmsnorm"]}, 2)
    found = [Effect("norm", "rmsnorm", "none", verdict) for verdict in (NOT_MATCHED, NO_SHARED_SEED)]
    assert untested([factor], table, found, ["And this."]) == [
        "norm=rmsnorm has not finished beside none with everything else equal.",
        "norm=rmsnorm and none have no seed in common: run both with the same seeds.",
        "And this.",
    ]
