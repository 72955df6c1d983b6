"""How often a study is wrong, on real noise and on made-up noise of seed and level; the long table is in the docs."""

import pytest

from benchmarks.coverage import (
    BANK_FACTORS,
    advice_power,
    bank_rates,
    equivalent_rate,
    grid,
    heavy,
    looking_rate,
    made_up_rates,
    one_by_one,
    read_bank,
)

#: Two standard errors of a share of 5 % over so many studies.
STUDIES, SLACK = 400, 0.022
MORE_STUDIES, LESS_SLACK = 4000, 0.007


def test_the_bank_is_whole():
    bank = read_bank()
    assert len(bank) == 8 * 36 and bank.value.notna().all()
    assert not bank.duplicated([*BANK_FACTORS, "seed"]).any()


@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("num_seeds", [3, 5, 8])
def test_real_noise(num_seeds, missing):
    rates = bank_rates(num_seeds, missing, STUDIES)
    assert rates.pop("verdicts") <= 0.05 + SLACK
    assert all(0.95 - SLACK - 0.01 <= coverage <= 0.99 for coverage in rates.values())


MADE_UP = [
    pytest.param(grid(1), {}, id="one factor"),
    pytest.param(grid(4), {}, id="four factors"),
    pytest.param(grid(3), {"missing": 0.15}, id="missing runs"),
    pytest.param(grid(2, 3), {"scale": {("factor0", "1"): 5.0}}, id="one level five times as noisy"),
    pytest.param(grid(2, 3), {"seed_shift": 1000.0}, id="seeds far apart"),
    pytest.param(grid(2, 3), {"noise": heavy, "run_noise": 0.0}, id="heavy tails"),
    pytest.param(grid(20), {"cells": one_by_one(grid(20))}, id="twenty factors"),
]


@pytest.mark.parametrize(("levels", "noise"), MADE_UP)
def test_made_up_noise(levels, noise):
    rates = made_up_rates(levels, 5, STUDIES // 2 if len(levels) < 5 else STUDIES // 8, **noise)
    assert rates["coverage"] == pytest.approx(0.955, abs=SLACK + 0.01)
    assert rates["verdicts"] <= 0.05 + SLACK
    assert rates["interactions"] <= 0.05 + 2 * SLACK


def test_looking_after_every_seed():
    assert looking_rate(3, 10, STUDIES) <= 0.05 + SLACK


def test_equivalence():
    assert equivalent_rate(10, 1, 1, STUDIES) <= 0.05 + SLACK
    assert equivalent_rate(10, 2, 0, STUDIES) >= 0.8


def test_advice():
    assert 0.7 <= advice_power(5, 1.0, STUDIES // 2) <= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("num_seeds", [3, 5, 8])
def test_real_noise_closely(num_seeds, missing):
    rates = bank_rates(num_seeds, missing, MORE_STUDIES)
    assert rates.pop("verdicts") <= (0.07 if num_seeds == 3 else 0.055)
    assert all(0.93 <= coverage <= 0.98 for coverage in rates.values())


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [3, 5, 8])
@pytest.mark.parametrize(("levels", "noise"), MADE_UP)
def test_made_up_noise_closely(levels, noise, num_seeds):
    rates = made_up_rates(levels, num_seeds, MORE_STUDIES if len(levels) < 4 else MORE_STUDIES // 4, **noise)
    assert 0.94 - LESS_SLACK <= rates["coverage"] <= 0.97 + LESS_SLACK
    assert rates["verdicts"] <= 0.055 + LESS_SLACK


@pytest.mark.slow
@pytest.mark.parametrize(("first", "factors"), [(2, 1), (3, 1), (5, 1), (3, 3)])
def test_looking_after_every_seed_up_to_twenty(first, factors):
    assert looking_rate(first, 20, MORE_STUDIES, factors) <= 0.055


@pytest.mark.slow
@pytest.mark.parametrize(("num_seeds", "margin"), [(5, 2), (10, 1), (10, 2)])
def test_equivalence_closely(num_seeds, margin):
    assert equivalent_rate(num_seeds, margin, margin, MORE_STUDIES) <= 0.055


@pytest.mark.slow
@pytest.mark.parametrize(("num_seeds", "margin"), [(3, 1.0), (5, 1.0), (5, 0.5), (8, 0.5)])
def test_advice_closely(num_seeds, margin):
    assert 0.75 <= advice_power(num_seeds, margin, 1000) <= 0.9
