import math
from dataclasses import replace

import pytest

from lightning_tx.core import names
from lightning_tx.studies.factors import find_factors, in_order
from lightning_tx.studies.places import latest_of_each_place, num_expected, unfinished
from lightning_tx.tracking.study import Row
from tests.studies.studies import METRIC, run


def asked(identity):
    """A row of the plan."""
    return Row(identity, "norm=none seed=7", 7, {})


def judged(runs, rows=()):
    runs = in_order(runs, rows)
    usable = {made.run_id for made in runs if math.isfinite(made.metrics.get(METRIC, math.nan))}
    factors = find_factors(runs)
    missing = unfinished(runs, rows, usable, factors, METRIC)
    return [(entry.name, entry.seed, entry.reason, entry.run_id) for entry in missing], num_expected(
        runs, rows, usable, factors
    )


def test_combinations_that_nobody_asked_for_are_not_missing():
    runs = [run({"norm": "none"}, 0), run({"norm": "rmsnorm"}, 1)]
    assert judged(runs) == ([], 2)
    assert judged(runs, [asked(made.identity) for made in runs]) == ([], 2)


def test_run_that_was_asked_for_and_never_started_is_called_by_the_name_of_its_row():
    runs = [run({"norm": "none"}, 0), run({"norm": "rmsnorm"}, 0)]
    rows = [asked("never"), *(asked(made.identity) for made in runs)]
    assert judged(runs, rows) == ([("norm=none seed=7", 7, "not run", None)], 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"status": "FAILED", "tags": {names.REASON: "MemoryError: no room\nfor this"}},
            "MemoryError: no room for this",
        ),
        ({"status": "KILLED"}, "killed, no reason recorded"),
        ({"status": "RUNNING"}, "still running, or cut off"),
        ({}, f"{METRIC} was not recorded"),
        ({"value": math.nan}, f"{METRIC} is nan"),
    ],
)
def test_run_without_a_value_is_called_by_its_levels(changes, reason):
    done, lost = run({"norm": "none"}, 0), run({"norm": "rmsnorm"}, 2, **({"value": None} | changes))
    entry = ("norm=rmsnorm seed=2", 2, reason, lost.run_id)
    assert judged([done, lost]) == ([entry], 2)
    assert judged([done, lost], [asked(lost.identity), asked(done.identity)]) == ([entry], 2)


def test_run_that_was_done_again_unasked_is_neither_missing_nor_counted_twice():
    lost, again, other = run({"norm": "none"}, 0, None), run({"norm": "none"}, 0), run({"norm": "rmsnorm"}, 0)
    assert judged([lost, again, other]) == ([], 2)


def test_run_that_was_asked_for_is_missing_though_another_one_stands_in_its_place():
    # The two differ in something that is no factor, as in a default that was changed between two sweeps.
    lost, again = run({"norm": "none"}, 0, None), run({"norm": "none"}, 0)
    missing, number = judged([lost, again], [asked(lost.identity), asked(again.identity)])
    assert ([entry[3] for entry in missing], number) == ([lost.run_id], 2)


def test_of_two_runs_with_one_identity_one_value_is_enough():
    lost = run({"norm": "none"}, 0, None)
    again = replace(run({"norm": "none"}, 0), identity=lost.identity)
    assert judged([again, lost], [asked(lost.identity)]) == ([], 1)


def test_the_latest_of_a_place_is_the_one_that_started_last_in_whatever_order_they_were_asked_for():
    early, late, other = run({"norm": "none"}), run({"norm": "none"}), run({"norm": "rmsnorm"})
    runs = in_order([early, late, other], [asked(late.identity), asked(other.identity)])
    assert runs == [late, other, early]
    assert latest_of_each_place(runs, find_factors(runs)) == [late, other]
    assert latest_of_each_place([replace(late, start_time=None), early], find_factors(runs)) == [early]
