from lightning_tx.studies.identical import identical_beside
from tests.studies.studies import noisy

LEVELS = {"heads": ["1", "2"], "attention": ["none", "gqa"], "norm": ["a", "b"]}
BASELINES = {"heads": "1", "attention": "none", "norm": "a"}


def test_values_that_are_equal_beside_one_choice_are_seen():
    rows = noisy(LEVELS, 3, seed=1)
    key = ["attention", "norm", "seed"]
    first = rows[rows.heads == "1"].set_index(key).value
    own = (rows.heads == "2") & (rows.attention == "none")
    rows.loc[own, "value"] = [first[tuple(place)] for place in rows.loc[own, key].to_numpy()]
    assert identical_beside(rows, list(LEVELS), BASELINES) == [
        "heads=2 and 1 give exactly the same values beside attention=none: does the option reach the model there?"
    ]


def test_values_that_differ_everywhere_or_nowhere_are_not_told_here():
    assert identical_beside(noisy(LEVELS, 3), list(LEVELS), BASELINES) == []
    assert identical_beside(noisy(LEVELS, 3, noise=0.0, blocks=1.0), list(LEVELS), BASELINES) == []
