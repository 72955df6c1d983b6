import math

import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from lightning_tx.studies.power import MOST_SEEDS, detectable, seeds_needed


@pytest.mark.parametrize(("num_seeds", "level"), [(3, 0.05), (5, 0.0375), (10, 0.01), (30, 0.05)])
def test_the_smallest_effect_agrees_with_a_power_analysis(num_seeds, level):
    size = detectable(2.0 / num_seeds**0.5, num_seeds - 1, level) / 2.0
    power = TTestPower().power(effect_size=size, nobs=num_seeds, alpha=level, alternative="two-sided")
    assert power == pytest.approx(0.8, abs=1e-4)


def test_no_level_no_effect():
    assert detectable(1.0, 1.0, 0.0) is None


def test_seeds_for_a_margin_agree_with_a_power_analysis_where_the_noise_is_known():
    # With so many degrees of freedom nothing is left open about the noise.
    needed = seeds_needed(0.5, 1.0 / 10, 1e6, 100, lambda _: 0.05)
    assert needed == 100
    wide = seeds_needed(0.5, 1.0 / 2, 1e6, 4, lambda _: 0.05)
    assert wide == pytest.approx(TTestPower().solve_power(0.5, power=0.8, alpha=0.05), abs=1.5)


def test_the_noise_of_few_seeds_is_taken_to_be_larger():
    needed = [seeds_needed(0.5, 1.0 / number**0.5, number - 1, number, lambda _: 0.05) for number in (3, 5, 10, 30)]
    known = math.ceil(TTestPower().solve_power(0.5, power=0.8, alpha=0.05))
    assert needed == sorted(needed, reverse=True) and needed[-1] >= known
    # Half of all samples have a variance below this share of the true one.
    for number, total in zip((3, 5, 10), needed, strict=False):
        noise = (stats.chi2.ppf(0.5, number - 1) / (number - 1)) ** -0.5
        expected = TTestPower().solve_power(0.5 / noise, power=0.8, alpha=0.05)
        assert total == pytest.approx(expected, abs=2.5)


def test_seeds_for_a_margin_have_an_end():
    assert seeds_needed(1e-6, 1.0, 4, 5, lambda _: 0.05) == MOST_SEEDS + 1
    assert seeds_needed(1e6, 1.0, 4, 5, lambda _: 0.05) == 5
