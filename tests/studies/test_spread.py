import numpy as np
import pandas as pd
import pytest

from benchmarks.coverage import made_up
from lightning_tx.studies import spread
from lightning_tx.studies.spread import uneven_spread
from tests.studies.studies import noisy

LEVELS = {"norm": ["none", "layernorm", "rmsnorm"], "attention": ["mha", "gqa"]}


def shaken() -> pd.DataFrame:
    """A study in which one combination diverges now and then."""
    rows = noisy(LEVELS, 3, noise=0.01)
    own = (rows.norm == "none") & (rows.attention == "gqa")
    rows.loc[own, "value"] += [3.0, -2.0, 5.0]
    return rows


def test_the_combination_that_varies_is_named_with_its_spread():
    found = uneven_spread(shaken(), list(LEVELS))
    assert found.cell == ("none", "gqa")
    assert found.spread == pytest.approx(np.std([3.0, -2.0, 5.0], ddof=1), rel=0.02)
    assert found.others < 0.02


def test_it_is_found_where_runs_are_missing():
    assert uneven_spread(shaken().drop(index=[1, 8]), list(LEVELS)).cell == ("none", "gqa")


def test_false_alarms_are_rare():
    random = np.random.default_rng(0)
    alarms = sum(uneven_spread(made_up(LEVELS, 3, random), list(LEVELS)) is not None for _ in range(200))
    assert alarms / 200 < spread.ALPHA + 0.014  # two standard errors


def test_where_nothing_can_be_said():
    assert uneven_spread(noisy(LEVELS, 1), list(LEVELS)) is None
    assert uneven_spread(noisy({"norm": ["a", "b"]}, 3), ["norm"]) is None
    assert uneven_spread(noisy(LEVELS, 3, noise=0.0), list(LEVELS)) is None
    assert uneven_spread(pd.DataFrame(columns=["norm", "seed", "value"]), ["norm"]) is None
    assert uneven_spread(pd.DataFrame({"seed": [0, 1], "value": [1.0, 2.0]}), []) is None
