import math
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from lightning_tx.ablation.statistics import (
    BETTER,
    IDENTICAL,
    INCONCLUSIVE,
    MOST_MORE_SEEDS,
    NO_SHARED_SEED,
    NOT_MATCHED,
    ONE_SEED,
    WORSE,
    effects,
    holm,
)
from lightning_tx.core.errors import ConfigError
from tests.ablation.studies import grid, noisy, table

TWO_BY_THREE = {"attention": ["mha", "gqa"], "positions": ["none", "sinusoidal", "rope"]}


def only(found):
    assert len(found) == 1
    return found[0]


def test_two_levels_of_one_factor_are_the_paired_t_test():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 6, {("norm", "rmsnorm"): 0.8}, seed=3)
    effect = only(effects(rows, ["norm"], "min"))
    a, b = (rows[rows.norm == level].value.to_numpy() for level in ("rmsnorm", "layernorm"))
    reference = stats.ttest_rel(a, b)
    interval = reference.confidence_interval(0.95)
    assert effect.estimate == pytest.approx((a - b).mean(), rel=1e-12)
    assert effect.p_value == pytest.approx(reference.pvalue, rel=1e-9)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert effect.num_pairs == 6


def test_balanced_study_agrees_with_the_analysis_of_variance():
    rows = noisy(TWO_BY_THREE, 3, {("positions", "rope"): -2.0}, seed=5)
    anova = sm.stats.anova_lm(smf.ols("value ~ C(attention) * C(positions) + C(seed)", rows).fit())
    degrees, error = anova.loc["Residual", "df"], anova.loc["Residual", "mean_sq"]
    assert degrees == (6 - 1) * (3 - 1)
    found = {(effect.factor, effect.level): effect for effect in effects(rows, list(TWO_BY_THREE), "min")}

    for level in ("sinusoidal", "rope"):
        effect = found["positions", level]
        means = rows.groupby("positions").value.mean()
        spread = math.sqrt(error * 2 / (2 * 3))
        assert effect.estimate == pytest.approx(means[level] - means["none"])
        assert effect.high - effect.estimate == pytest.approx(stats.t.ppf(0.975, degrees) * spread)
        assert effect.num_pairs == 6
    # With two levels the contrast is the factor's whole F-test.
    assert found["attention", "gqa"].p_value == pytest.approx(anova.loc["C(attention)", "PR(>F)"])


def test_missing_runs_agree_with_a_contrast_in_the_formula_model():
    rows = noisy(TWO_BY_THREE, 4, {("attention", "gqa"): 1.0}, seed=7).drop(index=[0, 5, 6, 17])
    rows["cell"] = rows.attention + "_" + rows.positions
    fitted = smf.ols("value ~ C(cell) - 1 + C(seed)", rows).fit()
    contrast = " + ".join(
        f"C(cell)[gqa_{positions}] - C(cell)[mha_{positions}]" for positions in TWO_BY_THREE["positions"]
    )
    reference = fitted.t_test(f"({contrast}) / 3 = 0")
    effect = next(effect for effect in effects(rows, list(TWO_BY_THREE), "min") if effect.factor == "attention")
    assert effect.estimate == pytest.approx(reference.effect.item())
    assert effect.p_value == pytest.approx(reference.pvalue.item())
    assert [effect.low, effect.high] == pytest.approx(reference.conf_int()[0].tolist())


def test_only_combinations_that_ran_with_both_levels_count():
    rows = grid({"attention": ["mha", "gqa"], "positions": ["none", "rope"]}, range(2))
    rows = [row for row in rows if (row["attention"], row["positions"]) != ("gqa", "rope")]
    values = [{"none": 5.0, "rope": 1.0}[row["positions"]] + (row["attention"] == "gqa") for row in rows]
    effect = next(e for e in effects(table(rows, values), ["attention", "positions"], "min") if e.level == "gqa")
    # Averaging all of gqa against all of mha would give 3.
    assert effect.estimate == pytest.approx(1.0)
    assert effect.num_pairs == 2


def test_coverage_and_false_alarms_over_simulated_studies():
    truth = {("positions", "sinusoidal"): 0.5, ("positions", "rope"): -0.4, ("attention", "gqa"): 0.1}
    num_studies, covered, intervals, alarms = 300, 0, 0, 0
    for number in range(num_studies):
        null = noisy(TWO_BY_THREE, 3, noise=0.1, blocks=5.0, seed=number)
        shift = sum((null[factor] == level) * size for (factor, level), size in truth.items())
        for effect in effects(null.assign(value=null.value + shift), list(TWO_BY_THREE), "min"):
            intervals += 1
            covered += effect.low <= truth[effect.factor, effect.level] <= effect.high
        alarms += any(effect.settled for effect in effects(null, list(TWO_BY_THREE), "min"))
    # Two standard errors of a share of 300 studies.
    assert covered / intervals == pytest.approx(0.95, abs=0.025)
    assert alarms / num_studies < 0.05 + 0.025


def test_seeds_are_blocks():
    # The seeds shift runs a thousand times more than the factor does: without blocks nothing would be seen.
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 5, {("norm", "rmsnorm"): -1.0}, noise=0.05, blocks=1000, seed=1)
    assert only(effects(rows, ["norm"], "min")).verdict == BETTER


@pytest.mark.parametrize(
    ("direction", "size", "verdict"), [("min", -9, BETTER), ("min", 9, WORSE), ("max", -9, WORSE), ("max", 9, BETTER)]
)
def test_direction_decides_what_is_better(direction, size, verdict):
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 4, {("norm", "rmsnorm"): size}, noise=0.1)
    assert only(effects(rows, ["norm"], direction)).verdict == verdict


def test_holm_agrees_with_statsmodels():
    p_values = [0.04, 0.001, 0.9, 0.012, 0.012, 0.3]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert holm([]) == []


def test_verdict_goes_by_the_corrected_p_value():
    levels = ["a", *(f"level{number}" for number in range(12))]
    for seed in range(50):
        found = effects(noisy({"norm": levels}, 3, seed=seed), ["norm"], "min")
        alone = [effect for effect in found if effect.p_value < 0.05 and effect.verdict == INCONCLUSIVE]
        if alone:
            break
    assert alone[0].low > 0 or alone[0].high < 0
    assert alone[0].p_corrected >= 0.05
    assert [e.p_corrected for e in found] == pytest.approx(multipletests([e.p_value for e in found], method="holm")[1])


def test_number_of_seeds_needed_agrees_with_a_power_analysis():
    differences = np.array([0.9, -0.6, 0.5, 0.3])
    rows = grid({"norm": ["layernorm", "rmsnorm"]}, range(4))
    effect = only(effects(table(rows, [0.0] * 4 + differences.tolist()), ["norm"], "min"))
    size = differences.mean() / differences.std(ddof=1)
    needed = math.ceil(TTestPower().solve_power(effect_size=size, power=0.8, alpha=0.05, alternative="two-sided"))
    assert effect.verdict == INCONCLUSIVE
    assert effect.more_seeds == needed - 4


def test_number_of_seeds_needed_counts_the_comparisons_that_are_open():
    rows = noisy({"norm": ["a", "b", "c"]}, 4, {("norm", "b"): 1.0, ("norm", "c"): -1.0}, seed=11)
    found = effects(rows, ["norm"], "min")
    assert [effect.verdict for effect in found] == [INCONCLUSIVE] * 2
    random = np.random.default_rng(0)
    for effect in found:
        error = (effect.high - effect.low) / 2 / stats.t.ppf(0.975, (3 - 1) * (4 - 1))

        def power(more, effect=effect, error=error):
            num_seeds = 4 + more
            degrees = (3 - 1) * (num_seeds - 1)
            scale = np.sqrt(random.chisquare(degrees, 200_000) / degrees)
            t_values = (random.normal(size=200_000) + abs(effect.estimate) / error * (num_seeds / 4) ** 0.5) / scale
            return (t_values > stats.t.ppf(1 - 0.05 / 2 / 2, degrees)).mean()

        assert effect.more_seeds > 1
        assert power(effect.more_seeds) > 0.8 - 0.005
        assert power(effect.more_seeds - 1) < 0.8 + 0.005


def test_number_of_seeds_needed_is_capped():
    rows = grid({"norm": ["layernorm", "rmsnorm"]}, range(3))
    found = only(effects(table(rows, [0, 0, 0, 1.0, -1.0, 0.001]), ["norm"], "min"))
    assert found.more_seeds == MOST_MORE_SEEDS + 1
    no_difference = only(effects(table(rows, [0, 0, 0, 1.0, -1.0, 0.0]), ["norm"], "min"))
    assert (no_difference.estimate, no_difference.p_value) == (0.0, 1.0)
    assert no_difference.more_seeds == MOST_MORE_SEEDS + 1


def test_settled_effects_need_no_more_seeds():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 4, {("norm", "rmsnorm"): 9.0}, noise=0.1)
    assert only(effects(rows, ["norm"], "min")).more_seeds is None


def test_one_seed_gives_an_estimate_and_no_interval():
    found = effects(noisy(TWO_BY_THREE, 1), list(TWO_BY_THREE), "min")
    assert {effect.verdict for effect in found} == {ONE_SEED}
    for effect in found:
        assert math.isfinite(effect.estimate)
        assert (effect.low, effect.high, effect.p_value, effect.p_corrected, effect.more_seeds) == (None,) * 5


def test_values_that_do_not_vary_over_seeds():
    rows = grid({"norm": ["layernorm", "rmsnorm", "none"]}, range(3))
    values = [0.1] * 3 + [0.1] * 3 + [0.3] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same, other = effects(table(rows, values), ["norm"], "max")
    assert (same.verdict, same.estimate, same.low, same.high, same.p_value) == (IDENTICAL, 0.0, 0.0, 0.0, 1.0)
    assert (other.verdict, other.p_value) == (BETTER, 0.0)
    assert other.low == other.estimate == other.high == pytest.approx(0.2)


def test_constant_shift_over_seeds_that_vary_is_settled_without_noise():
    rows = grid({"norm": ["layernorm", "rmsnorm"]}, range(3))
    effect = only(effects(table(rows, [1.1, 2.2, 3.3, 1.4, 2.5, 3.6]), ["norm"], "min"))
    assert effect.verdict == WORSE
    assert effect.estimate == pytest.approx(0.3)


def test_large_values_keep_their_digits():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 5, {("norm", "rmsnorm"): 0.5}, noise=0.1, blocks=0.1)
    plain = only(effects(rows, ["norm"], "min"))
    lifted = only(effects(rows.assign(value=rows.value + 1e6), ["norm"], "min"))
    assert lifted.p_value == pytest.approx(plain.p_value, rel=1e-5)


def test_level_without_a_partner_is_not_judged():
    rows = [{"attention": "mha", "adapter": "none"}, {"attention": "gqa", "adapter": "lora"}]
    rows = [row | {"seed": seed} for row in rows for seed in range(2)]
    found = effects(table(rows, [1.0, 2.0, 3.0, 4.5]), ["attention", "adapter"], "min")
    assert [(effect.verdict, effect.estimate) for effect in found] == [(NOT_MATCHED, None)] * 2


def test_cells_without_a_common_seed_are_not_compared():
    rows = [{"norm": "a", "seed": 0}, {"norm": "a", "seed": 1}, {"norm": "b", "seed": 2}, {"norm": "b", "seed": 3}]
    effect = only(effects(table(rows, [1.0, 2.0, 3.0, 4.0]), ["norm"], "min"))
    assert (effect.verdict, effect.estimate) == (NO_SHARED_SEED, None)


def test_comparison_through_a_third_level_is_used():
    # a and b share no seed, but both share seeds with c: the shifts of the seeds are known from there.
    shifts = {0: 10.0, 1: 20.0, 2: 30.0}
    rows = [{"norm": n, "seed": s} for n, s in [("a", 0), ("a", 1), ("b", 2), ("c", 0), ("c", 1), ("c", 2)]]
    size = {"a": 0.0, "b": 5.0, "c": 1.0}
    values = [size[row["norm"]] + shifts[row["seed"]] for row in rows]
    found = {effect.level: effect for effect in effects(table(rows, values), ["norm"], "min")}
    assert found["b"].estimate == pytest.approx(5.0)
    assert found["b"].num_pairs == 0


def test_columns_to_match_on_are_kept_apart_and_not_judged():
    rows = grid({"norm": ["layernorm", "rmsnorm"], "steps": ["100", "200"]}, range(3))
    rows = [row for row in rows if (row["norm"], row["steps"]) != ("rmsnorm", "200")]
    random = np.random.default_rng(0)
    values = [(row["steps"] == "200") * 50 + (row["norm"] == "rmsnorm") + random.normal(0, 0.01) for row in rows]
    effect = only(effects(table(rows, values), ["norm"], "min", matched_on=["steps"]))
    assert effect.estimate == pytest.approx(1.0, abs=0.05)


def test_baseline_is_the_first_level_unless_told():
    rows = noisy({"norm": ["rmsnorm", "layernorm", "none"]}, 2)
    assert [(e.level, e.baseline) for e in effects(rows, ["norm"], "min")] == [
        ("layernorm", "rmsnorm"),
        ("none", "rmsnorm"),
    ]
    asked = effects(rows, ["norm"], "min", {"norm": "none"})
    assert [(e.level, e.baseline) for e in asked] == [("rmsnorm", "none"), ("layernorm", "none")]


def test_nothing_to_judge():
    assert effects(noisy({"norm": ["rmsnorm"]}, 3), ["norm"], "min") == []
    assert effects(pd.DataFrame(columns=["norm", "seed", "value"]), ["norm"], "min") == []
    assert effects(pd.DataFrame({"seed": [0], "value": [1.0]}), [], "min") == []


def test_unknown_direction_is_refused():
    with pytest.raises(ConfigError, match=r"direction: 'up' is not a direction\. Choices: max, min\."):
        effects(noisy({"norm": ["a", "b"]}, 2), ["norm"], "up")
