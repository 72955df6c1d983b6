import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lightning_tx.studies.cell_model import fit
from lightning_tx.studies.looks import look_at
from lightning_tx.studies.ordering import not_told_apart, rankings, trends
from tests.studies.studies import noisy

LEVELS = {"positions": ["none", "alibi", "rope"], "attention": ["mha", "gqa"]}
BASELINES = {"positions": "none", "attention": "mha"}


def test_levels_that_ran_beside_different_choices_are_ranked_where_all_of_them_did():
    # With gqa everything is worse; alibi ran with mha only and looks best without being so.
    rows = noisy(LEVELS, 3, {("positions", "rope"): -0.5, ("positions", "alibi"): -0.1}, noise=0.01)
    rows["value"] += 2.0 * ((rows.attention == "gqa") & (rows.positions == "rope"))
    rows = rows[~((rows.positions == "alibi") & (rows.attention == "gqa"))]
    (ranking,) = rankings(rows, ["positions", "attention"], "min", BASELINES)
    assert list(ranking.effects) == ["rope", "alibi", "none"]
    assert ranking.contexts == {"attention": ("mha",)}
    assert ranking.effects["rope"] == pytest.approx(-0.5, abs=0.03)
    assert list(rankings(rows, ["positions", "attention"], "max", BASELINES)[0].effects) == ["none", "alibi", "rope"]


def test_levels_that_share_nothing_cannot_be_ranked_and_a_full_grid_needs_no_word():
    rows = noisy(LEVELS, 3)
    assert rankings(rows, ["positions", "attention"], "min", BASELINES) == []
    kept = {("none", "mha"), ("none", "gqa"), ("alibi", "mha"), ("rope", "gqa")}
    rows = rows[[pair in kept for pair in zip(rows.positions, rows.attention, strict=True)]]
    (ranking,) = rankings(rows, ["positions", "attention"], "min", BASELINES)
    assert ranking.effects == {}


def test_trend_is_the_slope_over_each_seeds_means():
    rows = noisy({"adapter.rank": ["4", "8", "16"], "norm": ["a", "b"]}, 5, seed=3)
    (trend,) = trends(rows, ["adapter.rank", "norm"], look_at([5]))
    means = rows.pivot_table(index="seed", columns="adapter.rank", values="value")
    slopes = [np.polyfit([2, 3, 4], row[["4", "8", "16"]].to_numpy(), 1)[0] for _, row in means.iterrows()]
    interval = stats.ttest_1samp(slopes, 0).confidence_interval(0.95)
    assert (trend.per, trend.slope) == ("doubling", pytest.approx(np.mean(slopes)))
    assert (trend.low, trend.high) == pytest.approx((interval.low, interval.high))


def test_trends_need_three_numbers():
    assert trends(noisy({"a": ["1", "2"]}, 3), ["a"], look_at([3])) == []
    assert trends(noisy({"a": ["1", "2", "none"]}, 3), ["a"], look_at([3])) == []
    assert trends(pd.DataFrame(columns=["a", "seed", "value"]), ["a"], look_at([3])) == []
    (trend,) = trends(noisy({"a": ["0", "1", "2"]}, 3), ["a"], look_at([3]))
    assert trend.per == "unit"


def test_combinations_that_are_not_told_apart_from_the_best():
    rows = noisy({"norm": ["a", "b", "c"]}, 5, {("norm", "c"): 9.0}, noise=0.1)
    model = fit(rows, ["norm"])
    assert {model.cells[cell][0] for cell in not_told_apart(model, "min", 0.05)} == {"a", "b"}
    assert {model.cells[cell][0] for cell in not_told_apart(model, "max", 0.05)} == {"c"}
    assert not_told_apart(fit(rows[rows.seed == 0], ["norm"]), "min", 0.05) == {0, 1, 2}
