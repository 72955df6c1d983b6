import numpy as np
import pandas as pd
import pytest

from benchmarks.coverage import grid as levels_of
from benchmarks.coverage import made_up, without
from lightning_tx.studies.interactions import interactions
from lightning_tx.studies.statistics import holm
from tests.studies.studies import grid, noisy, table
from tests.studies.test_clustered import read

LEVELS = {"attention": ["mha", "gqa"], "positions": ["none", "sinusoidal", "rope"]}


def test_every_pair_is_tested_beside_all_other_pairs_as_clubsandwich_does():
    # Wald_test(lm(value ~ (a + b + c)^2 + seed), constrain_zero("a.:b", reg_ex = TRUE), test = "HTZ") and so on; one
    # combination and five runs are missing.
    expected = [0.581702211220404, 0.132433467831853, 0.877242211290442]
    found = interactions(read("incomplete.csv"), ["a", "b", "c"])
    assert [pair.factors for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.p_value for pair in found] == pytest.approx(holm(expected), rel=1e-9)


@pytest.mark.parametrize("missing", ["nothing", "runs", "a combination"])
def test_false_alarms_are_rare(missing):
    random, levels, alarms, studies = np.random.default_rng(3), levels_of(3), 0, 300
    for _ in range(studies):
        rows = made_up(levels, 5, random)
        if missing == "runs":
            rows = without(rows, 0.15, random)
        if missing == "a combination":
            rows = rows[~((rows.factor0 == "1") & (rows.factor1 == "1") & (rows.factor2 == "1"))]
        alarms += any(pair.p_value < 0.05 for pair in interactions(rows, list(levels)))
    assert alarms / studies < 0.05 + 0.025  # two standard errors


def test_a_real_one_is_found():
    rows = noisy(LEVELS, 5, noise=0.1, seed=1)
    crossed = rows.value + 3.0 * ((rows.attention == "gqa") & (rows.positions == "rope"))
    assert interactions(rows.assign(value=crossed), list(LEVELS))[0].p_value < 1e-3


def test_another_pairs_interplay_is_not_passed_off_as_ones_own():
    # a and b depend on each other; c does nothing. Without the combination (1, 1, 1), c and a are entangled with it.
    random, levels, alarms = np.random.default_rng(5), levels_of(3), 0
    for _ in range(100):
        rows = made_up(levels, 5, random)
        rows["value"] += 5.0 * ((rows.factor0 == "1") & (rows.factor1 == "1"))
        rows = rows[~((rows.factor0 == "1") & (rows.factor1 == "1") & (rows.factor2 == "1"))]
        found = {pair.factors: pair.p_value for pair in interactions(rows, list(levels))}
        alarms += found["factor0", "factor2"] < 0.05
    assert alarms <= 10


def test_what_cannot_be_tested_is_left_out():
    assert interactions(noisy(LEVELS, 1), list(LEVELS)) == []
    assert interactions(noisy({"norm": ["a", "b"]}, 3), ["norm"]) == []
    assert interactions(pd.DataFrame(columns=["a", "b", "seed", "value"]), ["a", "b"]) == []
    one_at_a_time = noisy(LEVELS, 3)
    one_at_a_time = one_at_a_time[(one_at_a_time.attention == "mha") | (one_at_a_time.positions == "none")]
    assert interactions(one_at_a_time, list(LEVELS)) == []


def test_without_noise_there_is_nothing_to_judge_by():
    rows = grid({"a": ["x", "y"], "b": ["u", "v"]}, range(3))
    crossed = [(row["a"] == "y") + (row["a"] == "y") * (row["b"] == "v") for row in rows]
    assert interactions(table(rows, crossed), ["a", "b"]) == []
