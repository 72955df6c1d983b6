import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.margin import Margin
from lightning_tx.studies.looks import look_at
from lightning_tx.studies.power import MOST_SEEDS
from lightning_tx.studies.statistics import (
    BETTER,
    EQUIVALENT,
    IDENTICAL,
    INCONCLUSIVE,
    NO_SHARED_SEED,
    NO_SPREAD,
    NOT_COMPARABLE,
    NOT_MATCHED,
    ONE_SEED,
    WORSE,
    current_look,
    effects,
    holm,
)
from tests.studies.studies import grid, noisy, table
from tests.studies.test_clustered import read

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


def test_balanced_study_is_the_t_test_over_each_seeds_contrast():
    rows = noisy(TWO_BY_THREE, 4, {("positions", "rope"): -2.0}, seed=5)
    found = {(effect.factor, effect.level): effect for effect in effects(rows, list(TWO_BY_THREE), "min")}
    for factor, level, baseline in (
        ("positions", "sinusoidal", "none"),
        ("positions", "rope", "none"),
        ("attention", "gqa", "mha"),
    ):
        means = rows.pivot_table(index="seed", columns=factor, values="value")
        reference = stats.ttest_1samp(means[level] - means[baseline], 0)
        interval = reference.confidence_interval(0.95)
        effect = found[factor, level]
        assert effect.p_value == pytest.approx(reference.pvalue)
        assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))
        assert (effect.degrees, effect.num_seeds) == (pytest.approx(3), 4)
        own = means[level] - means[baseline]
        assert effect.num_agreeing == (own * effect.estimate > 0).sum()
    assert found["positions", "rope"].num_pairs == 8
    assert found["attention", "gqa"].num_pairs == 12


def test_missing_runs_agree_with_clubsandwich_and_emmeans():
    # linear_contrast(lm(value ~ 0 + cell + seed), vcov = "CR2", cluster = seed, test = "Satterthwaite"); the estimates
    # are emmeans' (equal weights) as well.
    expected = {
        ("positions", "rope"): (-0.082209490329741, -0.152101277134715, -0.0123177035247674),
        ("positions", "sin"): (0.00995109464172472, -0.129005906656008, 0.148908095939457),
        ("attention", "gqa"): (0.0316037719298237, -0.116593206750631, 0.179800750610278),
    }
    found = effects(read("unbalanced.csv"), ["positions", "attention"], "min")
    assert {(effect.factor, effect.level) for effect in found} == set(expected)
    for effect in found:
        assert (effect.estimate, effect.low, effect.high) == pytest.approx(
            expected[effect.factor, effect.level], rel=1e-8
        )


def test_values_that_a_useless_switch_repeats_add_nothing():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 3, {("norm", "rmsnorm"): 2.0}, seed=3)
    again = pd.concat([rows.assign(switch="on"), rows.assign(switch="off")])
    alone, repeated = only(effects(rows, ["norm"], "min")), effects(again, ["norm", "switch"], "min")
    assert repeated[0].p_value == pytest.approx(alone.p_value)
    assert (repeated[0].low, repeated[0].high) == pytest.approx((alone.low, alone.high))
    assert repeated[1].verdict == IDENTICAL


def test_only_combinations_that_ran_with_both_levels_count():
    rows = grid({"attention": ["mha", "gqa"], "positions": ["none", "rope"]}, range(2))
    rows = [row for row in rows if (row["attention"], row["positions"]) != ("gqa", "rope")]
    values = [{"none": 5.0, "rope": 1.0}[row["positions"]] + (row["attention"] == "gqa") for row in rows]
    effect = next(e for e in effects(table(rows, values), ["attention", "positions"], "min") if e.level == "gqa")
    # Averaging all of gqa against all of mha would give 3.
    assert effect.estimate == pytest.approx(1.0)
    assert effect.num_pairs == 2


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


def test_margin_makes_small_effects_equivalent_as_statsmodels_does():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 8, seed=2)
    effect = only(effects(rows, ["norm"], "min", margin=Margin.parse("1.5")))
    a, b = (rows[rows.norm == level].value.to_numpy() for level in ("rmsnorm", "layernorm"))
    assert effect.p_equivalent == pytest.approx(ttost_paired(a, b, -1.5, 1.5)[0], rel=1e-8)
    assert effect.p_equivalent < look_at([8]).verdict
    assert effect.verdict == EQUIVALENT and effect.settled
    assert only(effects(rows, ["norm"], "min", margin=Margin.parse("0.1"))).verdict == INCONCLUSIVE


def test_margin_in_percent_is_one_of_the_baselines_value():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 4, seed=2)
    rows["value"] += 50
    effect = only(effects(rows, ["norm"], "min", margin=Margin.parse("2%")))
    assert effect.margin == pytest.approx(0.02 * rows[rows.norm == "layernorm"].value.mean())


def test_real_difference_inside_the_margin_is_equivalent_and_one_beyond_it_is_not():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 6, {("norm", "rmsnorm"): 1.0}, noise=0.05, seed=2)
    assert only(effects(rows, ["norm"], "min")).verdict == WORSE
    assert only(effects(rows, ["norm"], "min", margin=Margin.parse("2.0"))).verdict == EQUIVALENT
    assert only(effects(rows, ["norm"], "min", margin=Margin.parse("0.5"))).verdict == WORSE


def test_what_can_be_found_does_not_depend_on_what_was_found():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 5, seed=11)
    small = only(effects(rows, ["norm"], "min", margin=Margin.parse("1")))
    rows["value"] += 0.4 * (rows.norm == "rmsnorm")
    large = only(effects(rows, ["norm"], "min", margin=Margin.parse("1")))
    assert small.detectable == pytest.approx(large.detectable)
    assert small.seeds_needed == large.seeds_needed > 5


def test_seeds_needed_have_an_end_and_need_a_margin():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 4, seed=11)
    assert only(effects(rows, ["norm"], "min")).seeds_needed is None
    assert only(effects(rows, ["norm"], "min", margin=Margin.parse("1e-4"))).seeds_needed == MOST_SEEDS + 1


def test_looks_before_this_one_widen_intervals_and_verdicts():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 8, seed=4)
    first, later = (only(effects(rows, ["norm"], "min", looks=looks)) for looks in ([], [3, 5]))
    assert later.p_value == first.p_value
    level = look_at([3, 5, 8]).verdict
    half = stats.t.isf(level / 2, 7) * later.error
    assert (later.high - later.low) / 2 == pytest.approx(half)
    assert half > (first.high - first.low) / 2


def test_looking_again_at_the_same_seeds_costs_nothing():
    rows = noisy({"norm": ["layernorm", "rmsnorm"]}, 5, seed=11)
    first, again = (only(effects(rows, ["norm"], "min", margin=Margin.parse("1"), looks=n)) for n in ([], [5]))
    assert first == again and first.seeds_needed is not None
    assert current_look([5], 5) == current_look([], 5)
    assert current_look([3, 5], 5) == current_look([3], 5)
    # A run that was deleted since does not give a look back.
    assert current_look([3, 5], 4) == look_at([3, 5])


def test_levels_that_cannot_be_compared_take_no_part():
    rows = noisy({"tokenizer": ["bpe", "byte"], "norm": ["layernorm", "rmsnorm"]}, 4, seed=4)
    byte, norm = effects(rows, ["tokenizer", "norm"], "min", not_comparable=[("tokenizer", "byte")])
    assert (byte.verdict, byte.estimate, byte.p_value) == (NOT_COMPARABLE, None, None)
    assert norm.p_corrected == norm.p_value


def test_contexts_are_told():
    rows = noisy(TWO_BY_THREE, 3, seed=1)
    rows = rows[~((rows.attention == "gqa") & (rows.positions == "rope"))]
    found = {effect.level: dict(effect.contexts) for effect in effects(rows, list(TWO_BY_THREE), "min")}
    assert found["rope"] == {"attention": ("mha",)}
    assert found["sinusoidal"] == {"attention": ("mha", "gqa")}
    assert found["gqa"] == {"positions": ("none", "sinusoidal")}


def test_one_seed_gives_an_estimate_and_no_interval():
    found = effects(noisy(TWO_BY_THREE, 1), list(TWO_BY_THREE), "min")
    assert {effect.verdict for effect in found} == {ONE_SEED}
    for effect in found:
        assert math.isfinite(effect.estimate)
        assert (effect.low, effect.high, effect.p_value, effect.p_corrected, effect.seeds_needed) == (None,) * 5


def test_values_that_do_not_vary_over_seeds():
    rows = grid({"norm": ["layernorm", "rmsnorm", "none"]}, range(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same, other = effects(table(rows, [0.1] * 3 + [0.1] * 3 + [0.3] * 3), ["norm"], "max")
    assert (same.verdict, same.estimate, same.p_value) == (IDENTICAL, 0.0, None)
    assert (other.verdict, other.estimate, other.low, other.high) == (NO_SPREAD, pytest.approx(0.2), None, None)
    # All that three equal signs say.
    assert other.p_value == 0.25


def test_two_seeds_never_settle_anything():
    rows = grid({"norm": ["layernorm", "rmsnorm"]}, range(2))
    equal = only(effects(table(rows, [1.0, 2.0, 9.0, 10.0]), ["norm"], "min"))
    assert (equal.verdict, equal.p_value) == (NO_SPREAD, 0.5)
    close = only(effects(table(rows, [1.0, 2.0, 9.0, 10.0000001]), ["norm"], "min"))
    assert 0 < close.p_value < 1e-6 and close.verdict == INCONCLUSIVE


def test_the_same_difference_at_eight_seeds_is_settled_by_its_signs():
    rows = grid({"layers": ["1", "2"]}, range(8))
    effect = only(effects(table(rows, [0.0] * 8 + [1.0] * 8), ["layers"], "max"))
    assert (effect.verdict, effect.p_value, effect.num_agreeing) == (BETTER, 0.5**7, 8)


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
