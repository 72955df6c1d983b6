import json

from lightning_tx.core import names
from lightning_tx.studies import cautions
from lightning_tx.studies.confounds import Confound, confounds
from lightning_tx.studies.factors import find_factors
from tests.studies.studies import run


def facts(**values):
    return {f"facts.{name}": value for name, value in values.items()}


def told(runs, configs=None):
    configs = configs or {made.run_id: {} for made in runs}
    return cautions.differences(confounds(runs, configs, find_factors(runs, configs)))


def test_costs_are_told_in_words():
    costs = {
        "none": {"train/tokens": 1e6, "flops/total": 1e15, "time/train_seconds": 100.0},
        "rope": {"train/tokens": 1.2e6, "flops/total": 1.12e15, "time/train_seconds": 131.0},
        "alibi": {"train/tokens": 1e6, "flops/total": 1.005e15, "time/train_seconds": 80.0},
    }
    assert told([run({"positions": positions}, metrics=metrics) for positions, metrics in costs.items()]) == [
        "positions=rope has 20 % more tokens to train on than none (1.20 M against 1.00 M), 12 % more FLOPs than none "
        "(1120 T against 1000 T) and 31 % longer training than none (medians: 131 s against 100 s).",
        "positions=alibi has 20 % shorter training than none (medians: 80 s against 100 s).",
    ]


def test_facts_are_told_in_words_and_before_other_keys():
    runs = [
        run({"norm": norm}, params=facts(precision=precision, code=code * 64))
        for norm, precision, code in (("none", "bf16-mixed", "a"), ("rmsnorm", "32", "b"))
    ]
    configs = {made.run_id: {"a": dict.fromkeys("vwxyz", made.run_id)} for made in runs}
    (sentence,) = told(runs, configs)
    assert sentence.startswith(
        "norm=rmsnorm against none also differs in the code of lightning_tx (digest bbbbbbbb instead of digest "
        "aaaaaaaa); precision (32 instead of bf16-mixed); a.v ("
    )


def test_example_of_sizes_that_vary_and_medians_of_costs_that_do():
    def confound(key):
        return Confound("norm", "a", "b", key, 2e6, 1e6, True, 2, 2, ("1", "2"))

    assert cautions.differences([confound("params/total"), confound("flops/total")]) == [
        "norm=a has 100 % more parameters than b (e.g. 2.00 M against 1.00 M)."
    ]
    assert cautions.differences([confound("flops/total")]) == [
        "norm=a has 100 % more FLOPs than b (medians: 2.00 M against 1.00 M)."
    ]


def test_facts_that_changed_when_a_run_was_resumed():
    changed = [{"threads": ["2", "1"]}, {"threads": ["2", "1"]}, {"data": ["a" * 64, "b" * 64]}]
    runs = [run({}, tags={names.FACTS_CHANGED: json.dumps(entry)}) for entry in changed]
    assert cautions.provenance(runs, {made.run_id: {} for made in runs}) == [
        "2 runs changed threads (2 to 1) when resumed.",
        "1 run changed data (digest aaaaaaaa to digest bbbbbbbb) when resumed.",
    ]


def test_facts_between_seeds():
    runs = [run({}, seed, params=facts(torch="2.13" if seed < 3 else "2.14")) for seed in (0, 1, 2, 3, 4, 7)]
    assert cautions.between_seeds(runs) == [
        "the version of torch differs between seeds: 2.13 for seeds 0 to 2 and 2.14 for seeds 3, 4 and 7. Every "
        "comparison is within a seed."
    ]


def test_facts_that_some_runs_did_not_record():
    runs = [run({}, params=facts(data="d")), run({}, params=facts(data="d", device="cpu", threads="2"))]
    assert cautions.unknown_facts(runs) == [
        "1 run did not record device and threads: differences in these could not be checked."
    ]
    assert cautions.unknown_facts(runs[:1]) == []


def test_aliased_factors_are_named():
    factors = find_factors([run({"a": "1", "b": "x", "c": "1"}), run({"a": "2", "b": "y", "c": "1"})])
    assert cautions.aliased(factors) == [
        "a and b always changed together: their joint effect is shown; which of them causes it cannot be told."
    ]
    assert cautions.aliased(find_factors([run({"a": "1"}), run({"a": "2"})])) == []


def test_numbers_that_were_none_on_the_way():
    runs = [run({}), run({}, tags={names.NONFINITE: "train/loss@70"})]
    (sentence,) = cautions.nonfinite(runs)
    assert "in 1 run" in sentence and f"{runs[1].name} (train/loss at step 70)" in sentence
    assert cautions.nonfinite(runs[:1]) == []


def test_one_learning_rate_for_all_arms():
    runs = [run({"norm": norm}) for norm in ("none", "rmsnorm")]
    factors = find_factors(runs)
    configs = {made.run_id: {"optimizer": {"lr": 0.01}} for made in runs}
    assert cautions.untuned(runs, configs, factors) == ["optimizer.lr = 0.01 for all arms, not tuned for each."]
    assert cautions.untuned(runs, configs, []) == cautions.untuned(runs, {}, factors) == []
    configs[runs[0].run_id] = {"optimizer": {"lr": 0.02}}
    assert cautions.untuned(runs, configs, factors) == []


def test_choices_that_some_runs_do_not_read():
    runs = [
        run({"attention": "none"}, tags={"ltx.unread": "pattern"}),
        run({"attention": "mha", "pattern": "full"}),
        run({"attention": "mha", "pattern": "local"}),
    ]
    (sentence,) = cautions.unread(find_factors(runs))
    assert sentence == "pattern is read by nothing where attention=none; such runs count as pattern=full."
