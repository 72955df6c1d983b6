import math

import pytest

from lightning_tx.core import names
from lightning_tx.studies.factors import find_factors
from lightning_tx.studies.outcomes import BETTER_DIVERGED, WORSE_DIVERGED, losses, outcome_of
from lightning_tx.studies.statistics import BETTER, EQUIVALENT, NOT_MATCHED, WORSE, Effect
from tests.studies.studies import METRIC, run


@pytest.mark.parametrize(
    ("value", "status", "reason", "outcome"),
    [
        (1.0, "FINISHED", "", "finished"),
        (math.nan, "FINISHED", "", "diverged"),
        (math.inf, "FINISHED", "", "diverged"),
        (None, "FAILED", "diverged at step 7", "diverged"),
        (None, "FAILED", "FloatingPointError: The loss is not finite", "diverged"),
        (None, "FAILED", "MemoryError: no room", "failed"),
        (None, "KILLED", "stopped by SIGTERM", "killed"),
        (None, "RUNNING", "", "running"),
    ],
)
def test_what_becomes_of_a_run(value, status, reason, outcome):
    made = run({}, 0, value, status=status, tags={names.REASON: reason} if reason else None)
    assert outcome_of(made, METRIC) == outcome


def study(*rates):
    """One factor, lr, with a value or none for each seed."""
    runs = [run({"lr": lr}, seed, value) for lr, values in rates for seed, value in enumerate(values)]
    factors = find_factors(runs)
    return losses(runs, factors, {"lr": rates[0][0]}, METRIC)


def judged(lost, verdict, level="0.1", baseline="0.01"):
    return lost.judge(Effect("lr", level, baseline, verdict)).verdict


def test_level_that_lost_runs_its_baseline_kept_is_not_better():
    lost = study(("0.01", [1, 1, 1]), ("0.1", [1, math.nan, 1]))
    assert judged(lost, BETTER) == judged(lost, EQUIVALENT) == "inconclusive: diverged at 1 of 3 runs"
    assert judged(lost, WORSE) == WORSE
    assert lost.sentences() == ["lr=0.1 diverged at 1 of 3 runs."]


def test_level_that_diverged_always_is_worse_and_a_baseline_that_did_is_beaten():
    gone = [math.nan] * 3
    assert judged(study(("0.01", [1, 1, 1]), ("0.1", gone)), NOT_MATCHED) == WORSE_DIVERGED
    assert judged(study(("0.01", gone), ("0.1", [1, 1, 1])), NOT_MATCHED) == BETTER_DIVERGED
    assert judged(study(("0.01", gone), ("0.1", gone)), NOT_MATCHED) == NOT_MATCHED


def test_runs_that_the_baseline_lost_too_cost_nothing():
    lost = study(("0.01", [math.nan, 1, 1]), ("0.1", [math.nan, 1, 1]))
    assert judged(lost, BETTER) == BETTER


def test_a_failed_run_that_was_done_again_is_not_lost():
    failed, done = run({"lr": "0.1"}, 0, None, status="FAILED"), run({"lr": "0.1"}, 0, 1.0)
    base = run({"lr": "0.01"}, 0, 1.0)
    for runs in ([base, failed, done], [base, done, failed]):
        assert losses(runs, find_factors(runs), {"lr": "0.01"}, METRIC).sentences() == []


def test_level_whose_baseline_lost_runs_that_it_kept_is_not_worse():
    lost = study(("0.01", [1, math.nan, 1]), ("0.1", [1, 1, 1]))
    assert judged(lost, WORSE) == judged(lost, EQUIVALENT) == "inconclusive: 0.01 diverged at 1 of 3 runs"
    assert judged(lost, BETTER) == BETTER


def test_level_that_diverged_is_not_worse_than_a_baseline_that_has_no_value_either():
    runs = [run({"lr": "0.01"}, 0, None, status="FAILED"), run({"lr": "0.1"}, 0, math.nan)]
    lost = losses(runs, find_factors(runs), {"lr": "0.01"}, METRIC)
    assert judged(lost, NOT_MATCHED) == NOT_MATCHED
    assert lost.sentences() == ["lr=0.01 failed at 1 of 1 run.", "lr=0.1 diverged at 1 of 1 run."]


def test_losses_are_compared_beside_the_same_other_levels_and_seed():
    # The level is lost beside norm=none, where its baseline was never run.
    cells = [("0.01", "rmsnorm", 1.0), ("0.1", "rmsnorm", 1.0), ("0.1", "none", math.nan)]
    runs = [run({"lr": lr, "norm": norm}, 0, value) for lr, norm, value in cells]
    lost = losses(runs, find_factors(runs), {"lr": "0.01", "norm": "rmsnorm"}, METRIC)
    assert lost.levels["lr", "0.1"].counts == {"diverged": 1}
    assert judged(lost, BETTER) == BETTER
    assert lost.judge(Effect("norm", "none", "rmsnorm", NOT_MATCHED)).verdict == WORSE_DIVERGED
