import numpy as np
import pytest
from scipy import stats

from lightning_tx.studies.looks import ALPHA, look_at, spent_by


def test_one_look_takes_what_its_seeds_have_freed():
    assert [look_at([number]).verdict for number in (2, 3, 5, 11)] == pytest.approx([0.0, 0.025, 0.0375, 0.045])
    assert {look_at([number]).interval for number in (2, 3, 5, 11)} == {ALPHA}


def test_later_looks_are_judged_more_strictly_and_their_intervals_are_as_wide():
    second, third = look_at([3, 5]), look_at([3, 5, 8])
    assert (second.number, third.number) == (2, 3)
    assert 0 < third.verdict < second.verdict < look_at([5]).verdict
    assert second.interval == second.verdict


def test_looks_that_could_show_nothing_cost_nothing():
    assert look_at([1, 5]) == look_at([5])
    assert look_at([]).verdict == 0
    assert look_at([5, 5, 8]) == look_at([5, 8])
    # Two seeds settle nothing: the level is all but kept.
    assert look_at([2, 5]).verdict == pytest.approx(look_at([5]).verdict, rel=0.03)


@pytest.mark.parametrize("looks", [[3, 5], [5, 10], [3, 4, 5, 6, 7, 8], list(range(2, 21))])
def test_no_more_is_spent_than_is_free(looks):
    # The reference: paired t-tests of studies of their own, one after the other.
    values = np.random.default_rng(1).normal(size=(40_000, looks[-1]))
    found = np.zeros(len(values), dtype=bool)
    for place, number in enumerate(looks):
        p_values = stats.ttest_1samp(values[:, :number], 0, axis=1).pvalue
        found |= p_values < look_at(looks[: place + 1]).verdict
    assert found.mean() == pytest.approx(spent_by(looks[-1]), abs=3 * (0.05 * 0.95 / len(values)) ** 0.5)


def test_levels_are_the_same_every_time():
    from lightning_tx.studies import looks

    first = look_at([4, 7, 9])
    looks._levels.cache_clear()
    assert look_at([4, 7, 9]) == first
