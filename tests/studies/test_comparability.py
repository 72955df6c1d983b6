import pytest

from lightning_tx.core import names
from lightning_tx.core.measure import TEXT, Measure, to_text
from lightning_tx.studies.comparability import alternatives, incomparable, incomparable_words
from lightning_tx.studies.factors import find_factors
from lightning_tx.studies.metric import Metric, choose_metric
from tests.studies.studies import run

MEASURES = {"loss": Measure("min"), "bits_per_byte": Measure("min", TEXT), "exact_match": Measure("max", TEXT)}
METRICS = {"last/loss": 2.0, "last/bits_per_byte": 1.0, "last_test/loss": 2.1}


def study(factor, same=(), **facts):
    """Two levels of a factor whose runs have other facts; ``same`` facts are equal."""
    runs = []
    for place, level in enumerate(("a", "b")):
        own = {f"facts.{name}": str(values[place]) for name, values in facts.items()}
        own |= {f"facts.{name}": "same" for name in same}
        for seed in (0, 1):
            made = run({factor: level}, seed, None, metrics=METRICS, params=own)
            made.tags[names.MEASURES] = to_text(MEASURES)
            made.tags[names.METRIC] = "last/loss"
            runs.append(made)
    return runs


def judged(runs, name=None):
    factors, metric = find_factors(runs), choose_metric(runs, name)
    baselines = {factor.name: factor.levels[0] for factor in factors}
    return incomparable(runs, factors, baselines, metric), alternatives(runs, factors, baselines, metric)


@pytest.mark.parametrize(
    ("fact", "factor"),
    [("tokenizer", "tokenizer"), ("validation_targets", "pattern"), ("objective", "task.mask_fraction")],
)
def test_what_changes_the_targets_cannot_be_judged_by_loss_and_can_by_bits_per_byte(fact, factor):
    apart, others = judged(study(factor, ["validation_data"], **{fact: (1, 2)}))
    assert apart == {(factor, "b"): (fact,)}
    assert [other.name for other in others] == ["last/bits_per_byte"]
    assert judged(study(factor, ["validation_data"], **{fact: (1, 2)}), "last/bits_per_byte")[0] == {}


def test_other_validation_data_cannot_be_judged_at_all_and_other_training_data_can():
    apart, others = judged(study("data.size", data=(1, 2), validation_data=(1, 2)))
    assert apart == {("data.size", "b"): ("validation_data",)} and others == []
    assert judged(study("data.size", ["validation_data"], data=(1, 2)))[0] == {}


def test_the_test_split_is_judged_by_its_own_facts():
    runs = study("norm", ["test_data"], validation_data=(1, 2))
    assert judged(runs, "last_test/loss")[0] == {}
    assert judged(study("norm", test_data=(1, 2)), "last_test/loss")[0] == {("norm", "b"): ("test_data",)}


def test_runs_of_before_facts_were_recorded_are_told_by_their_digests():
    runs = [
        run({"tokenizer": label}, 0, None, metrics={"best/loss": 1.0}, params={"tokenizer_digest": label})
        for label in ("bpe", "byte")
    ]
    factors = find_factors(runs)
    apart = incomparable(runs, factors, {"tokenizer": "bpe"}, Metric("best/loss", "min", None))
    assert apart == {("tokenizer", "byte"): ("tokenizer",)}
    assert incomparable(runs, factors, {"tokenizer": "bpe"}, Metric("best/bits_per_byte", "min", None)) == {}
    runs = [run({"norm": label}, 0, None, params={"data_digest": label}) for label in ("none", "rmsnorm")]
    apart = incomparable(runs, find_factors(runs), {"norm": "none"}, Metric("best/bleu", "max", None))
    assert apart == {("norm", "rmsnorm"): ("validation_data",)}


def test_sentences_name_the_reason_and_what_to_compare_by():
    apart = {("tokenizer", "byte"): ("tokenizer", "validation_targets")}
    assert incomparable_words(apart, {"tokenizer": "bpe"}, "last/loss", "last/bits_per_byte") == [
        "tokenizer=byte and bpe cannot be compared by last/loss: the tokenizers differ and the validation targets "
        "differ. last/bits_per_byte can be compared."
    ]
    (sentence,) = incomparable_words(apart, {"tokenizer": "bpe"}, "last/loss", None)
    assert sentence.endswith("The task has no metric that can be compared.")


def test_tasks_of_before_facts_were_recorded_are_told_by_their_names():
    runs = [
        run({"task": task}, 0, None, metrics={"best/loss": 1.0}, params={"task.name": task})
        for task in ("causal_lm", "masked_lm")
    ]
    apart = incomparable(runs, find_factors(runs), {"task": "causal_lm"}, Metric("best/loss", "min", None))
    assert apart == {("task", "masked_lm"): ("objective",)}
    del runs[0].params["task.name"]
    assert incomparable(runs, find_factors(runs), {"task": "causal_lm"}, Metric("best/loss", "min", None)) == {}


def test_speeds_of_two_devices_are_not_compared():
    runs = [
        run({"norm": norm}, 0, None, metrics={"train/tokens_per_second": 1.0}, params={"facts.device": device})
        for norm, device in (("none", "cpu"), ("rmsnorm", "cuda"))
    ]
    metric = choose_metric(runs, "train/tokens_per_second")
    assert incomparable(runs, find_factors(runs), {"norm": "none"}, metric) == {("norm", "rmsnorm"): ("device",)}


def test_runs_that_differ_between_seeds_only_can_be_compared():
    runs = [
        run({"norm": norm}, seed, None, metrics=METRICS, params={"facts.tokenizer": str(seed)})
        for norm in ("none", "rmsnorm")
        for seed in (0, 1)
    ]
    metric = Metric("last/loss", "min", MEASURES["loss"])
    assert incomparable(runs, find_factors(runs), {"norm": "none"}, metric) == {}


def test_levels_that_share_no_seed_are_compared_all_the_same():
    runs = study("tokenizer", ["validation_data"], tokenizer=(1, 2))
    runs = [made for made in runs if (made.choices["tokenizer"] == "a") == (made.seed == 0)]
    assert judged(runs)[0] == {("tokenizer", "b"): ("tokenizer",)}
