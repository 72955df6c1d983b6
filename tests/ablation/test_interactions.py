import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

from lightning_tx.ablation.interactions import interactions
from lightning_tx.ablation.statistics import holm
from tests.ablation.studies import grid, noisy, table

LEVELS = {"attention": ["mha", "gqa"], "positions": ["none", "sinusoidal", "rope"]}


def test_two_factors_agree_with_the_analysis_of_variance():
    rows = noisy(LEVELS, 3, seed=2)
    anova = sm.stats.anova_lm(smf.ols("value ~ C(attention) * C(positions) + C(seed)", rows).fit())
    (found,) = interactions(rows, list(LEVELS))
    assert found.factors == ("attention", "positions")
    assert found.p_value == pytest.approx(anova.loc["C(attention):C(positions)", "PR(>F)"])


def test_three_factors_agree_with_the_analysis_of_variance():
    levels = LEVELS | {"norm": ["layernorm", "rmsnorm"]}
    rows = noisy(levels, 2, seed=4)
    anova = sm.stats.anova_lm(smf.ols("value ~ C(attention) * C(positions) * C(norm) + C(seed)", rows).fit())
    pairs = ["C(attention):C(positions)", "C(attention):C(norm)", "C(positions):C(norm)"]
    found = interactions(rows, list(levels))
    assert [pair.factors for pair in found] == [
        ("attention", "positions"),
        ("attention", "norm"),
        ("positions", "norm"),
    ]
    assert [pair.p_value for pair in found] == pytest.approx(holm([anova.loc[pair, "PR(>F)"] for pair in pairs]))


def test_missing_runs_agree_with_a_comparison_of_nested_models():
    rows = noisy(LEVELS, 4, seed=6).drop(index=[0, 5, 6, 17])
    full = smf.ols("value ~ C(attention) * C(positions) + C(seed)", rows).fit()
    additive = smf.ols("value ~ C(attention) + C(positions) + C(seed)", rows).fit()
    assert interactions(rows, list(LEVELS))[0].p_value == pytest.approx(full.compare_f_test(additive)[1])


def test_false_alarms_are_rare_and_a_real_one_is_found():
    alarms = sum(interactions(noisy(LEVELS, 3, seed=seed), list(LEVELS))[0].p_value < 0.05 for seed in range(200))
    assert alarms / 200 < 0.05 + 0.031  # two standard errors
    rows = noisy(LEVELS, 3, noise=0.1, seed=1)
    crossed = rows.value + 3.0 * ((rows.attention == "gqa") & (rows.positions == "rope"))
    assert interactions(rows.assign(value=crossed), list(LEVELS))[0].p_value < 1e-6


def test_what_cannot_be_tested_is_left_out():
    assert interactions(noisy(LEVELS, 1), list(LEVELS)) == []
    assert interactions(noisy({"norm": ["a", "b"]}, 3), ["norm"]) == []
    assert interactions(pd.DataFrame(columns=["a", "b", "seed", "value"]), ["a", "b"]) == []
    one_at_a_time = noisy(LEVELS, 3)
    one_at_a_time = one_at_a_time[(one_at_a_time.attention == "mha") | (one_at_a_time.positions == "none")]
    assert interactions(one_at_a_time, list(LEVELS)) == []


def test_without_noise():
    rows = grid({"a": ["x", "y"], "b": ["u", "v"]}, range(2))
    additive = [(row["a"] == "y") + (row["b"] == "v") * 2.0 for row in rows]
    crossed = [value + (row["a"] == "y") * (row["b"] == "v") for value, row in zip(additive, rows, strict=True)]
    assert interactions(table(rows, additive), ["a", "b"])[0].p_value == 1.0
    assert interactions(table(rows, crossed), ["a", "b"])[0].p_value == 0.0
