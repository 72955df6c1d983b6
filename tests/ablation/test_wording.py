from lightning_tx.ablation.factors import Factor
from lightning_tx.ablation.statistics import INCONCLUSIVE, MOST_MORE_SEEDS, NO_SHARED_SEED, NOT_MATCHED, Effect
from lightning_tx.ablation.wording import more_seeds, unsettled, untested
from tests.ablation.studies import noisy


def effect(low=-0.1, high=0.5, more=3, verdict=INCONCLUSIVE):
    return Effect("norm", "rmsnorm", "none", (low + high) / 2, low, high, 0.03, 0.2, verdict, 6, more)


def test_interval_beyond_zero_that_is_still_inconclusive_is_explained():
    sentences = unsettled([effect(low=0.02), effect(), effect()])
    assert "between +0.02 and +0.50 on its own, but among 3 comparisons one looks like that by chance" in sentences[0]
    assert "by chance" not in sentences[1]


def test_seeds_still_needed():
    assert [more_seeds(effect(more=more)) for more in (None, 1, MOST_MORE_SEEDS, MOST_MORE_SEEDS + 1)] == [
        "",
        "about 1",
        "about 100",
        "> 100",
    ]
    assert "; about 1 more seed would settle a difference of +0.20." in unsettled([effect(more=1)])[0]
    assert unsettled([effect(more=101)])[0].endswith("; 100 more seeds would not settle a difference of this size.")


def test_what_is_missing_for_a_comparison():
    factor = Factor("norm", ("norm",), ("none", "rmsnorm"), {})
    table = noisy({"norm": ["none", "rmsnorm"]}, 2)
    assert untested([factor], table, [effect(verdict=NOT_MATCHED), effect(verdict=NO_SHARED_SEED)]) == [
        "norm=rmsnorm has not finished beside none with everything else equal.",
        "norm=rmsnorm and none have no seed in common: run both with the same seeds.",
    ]
