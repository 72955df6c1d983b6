import pandas as pd
import pytest
import statsmodels.formula.api as smf

from lightning_tx.ablation import spread
from lightning_tx.ablation.spread import uneven_spread
from tests.ablation.studies import noisy

LEVELS = {"norm": ["none", "layernorm", "rmsnorm"], "attention": ["mha", "gqa"]}


def shaken(seed: int = 0) -> pd.DataFrame:
    """A study in which one combination diverges now and then."""
    rows = noisy(LEVELS, 3, noise=0.01, seed=seed)
    own = (rows.norm == "none") & (rows.attention == "gqa")
    rows.loc[own, "value"] += [3.0, -2.0, 5.0][: own.sum()]
    return rows


def test_the_combination_that_varies_is_named_with_its_spread():
    rows = shaken()
    found = uneven_spread(rows, list(LEVELS))
    assert found.cell == ("none", "gqa")
    # The reference: the model of the others alone, and what the combination adds to its sum of squares.
    rows["cell"] = rows.norm + rows.attention
    others = smf.ols("value ~ C(cell) + C(seed)", rows[rows.cell != "nonegqa"]).fit()
    every = smf.ols("value ~ C(cell) + C(seed)", rows).fit()
    assert others.df_resid == 8
    assert found.others == pytest.approx((others.ssr / 8) ** 0.5)
    assert found.spread == pytest.approx(((every.ssr - others.ssr) / 2) ** 0.5)


def test_it_is_found_where_runs_are_missing():
    assert uneven_spread(shaken().drop(index=[1, 8]), list(LEVELS)).cell == ("none", "gqa")


def test_false_alarms_are_rare():
    alarms = sum(uneven_spread(noisy(LEVELS, 3, seed=seed), list(LEVELS)) is not None for seed in range(200))
    assert alarms / 200 < spread.ALPHA + 0.021  # three standard errors


def test_where_nothing_can_be_said():
    assert uneven_spread(noisy(LEVELS, 1), list(LEVELS)) is None
    assert uneven_spread(noisy({"norm": ["a", "b"]}, 3), ["norm"]) is None
    assert uneven_spread(noisy(LEVELS, 3, noise=0.0), list(LEVELS)) is None
    assert uneven_spread(pd.DataFrame(columns=["norm", "seed", "value"]), ["norm"]) is None
    assert uneven_spread(pd.DataFrame({"seed": [0, 1], "value": [1.0, 2.0]}), []) is None
