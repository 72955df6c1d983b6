import pytest

from lightning_tx.studies.confounds import confounds, differences, unplanned
from lightning_tx.studies.factors import find_factors
from tests.studies.studies import run


def test_differences_by_dotted_key():
    a = {"seed": 0, "model": {"depth": 2, "overrides": [{"layers": "1::2"}]}, "only": 1, "same": [1, {"x": None}]}
    b = {"seed": 1, "model": {"depth": 2.0, "overrides": []}, "same": [1, {"x": None}]}
    assert differences(a, b) == [
        ("model.overrides", "-", []),
        ("model.overrides.0.layers", "1::2", "-"),
        ("only", 1, "-"),
        ("seed", 0, 1),
    ]
    assert differences(a, b, volatile=["model", "seed"]) == [("only", 1, "-")]
    assert differences(a, a) == []


def study():
    """Two attentions by two positions by two seeds; gqa comes with fewer parameters and another pattern."""
    runs, configs = [], {}
    for attention in ("mha", "gqa"):
        for positions in ("none", "rope"):
            for seed in (0, 1):
                total = (1000 if attention == "mha" else 900) + (50 if positions == "rope" else 0)
                made = run({"attention": attention, "positions": positions}, seed, metrics={"params/total": total})
                runs.append(made)
                configs[made.run_id] = {
                    "seed": seed,
                    "data": {"seed": seed},
                    "attention": {"name": attention},
                    "positions": {"name": positions, "base": 10_000 if positions == "rope" else None},
                    "pattern": {"name": "local" if attention == "gqa" else "full"},
                    "trainer": {"devices": positions},
                }
    return runs, configs


def test_what_comes_with_a_factor_is_named_and_its_own_keys_are_not():
    runs, configs = study()
    found = confounds(runs, configs, find_factors(runs, configs), volatile=["trainer.devices"])
    by_factor = {(confound.factor, confound.level, confound.key): confound for confound in found}
    assert set(by_factor) == {
        ("attention", "gqa", "params/total"),
        ("attention", "gqa", "pattern.name"),
        ("positions", "rope", "params/total"),
    }
    pattern = by_factor["attention", "gqa", "pattern.name"]
    assert (pattern.value, pattern.baseline_value, pattern.baseline) == ("local", "full", "mha")
    assert (pattern.num_differing, pattern.num_pairs, pattern.varies) == (4, 4, False)
    assert by_factor["attention", "gqa", "params/total"].varies
    assert len(set(pattern.pair)) == 2


def test_difference_in_some_pairs_only_is_counted():
    runs, configs = study()
    configs[runs[-1].run_id]["trainer"]["max_steps"] = 7
    found = confounds(runs, configs, find_factors(runs, configs), volatile=["trainer.devices"])
    steps = {c.factor: (c.num_differing, c.num_pairs) for c in found if c.key == "trainer.max_steps"}
    assert steps == {"attention": (1, 4), "positions": (1, 4)}


def test_value_that_happens_to_equal_the_seed_is_still_compared():
    runs = [run({"attention": attention}, 2) for attention in ("mha", "gqa")]
    configs = {made.run_id: {"model": {"depth": depth}} for made, depth in zip(runs, (2, 4), strict=True)}
    (found,) = confounds(runs, configs, find_factors(runs, configs))
    assert (found.key, found.value, found.baseline_value) == ("model.depth", 4, 2)


def test_runs_without_a_config_are_passed_over():
    runs, _ = study()
    assert confounds(runs, {}, find_factors(runs)) == []
    assert unplanned(runs, {}, find_factors(runs)) == {}


def test_baseline_asked_for():
    runs, configs = study()
    found = confounds(runs, configs, find_factors(runs, configs), {"attention": "gqa"}, ["trainer.devices"])
    assert {(c.level, c.baseline) for c in found if c.factor == "attention"} == {("mha", "gqa")}


def test_settings_that_change_within_a_combination_are_unplanned():
    runs, configs = study()
    factors = find_factors(runs, configs)
    assert unplanned(runs, configs, factors) == {}
    for made in runs:
        configs[made.run_id]["trainer"]["max_steps"] = 100 + 100 * (made.seed == 1)
    assert unplanned(runs, configs, factors) == {
        "trainer.max_steps": {made.run_id: "200" if made.seed else "100" for made in runs}
    }
    assert unplanned(runs, configs, factors, volatile=["trainer"]) == {}


def test_other_data_under_the_same_config_is_unplanned():
    runs = [run({"norm": "rmsnorm"}, 0, params={"data_digest": digest}) for digest in "ab"]
    assert list(unplanned(runs, {made.run_id: {} for made in runs}, [])) == ["facts.data"]


def facts(**values):
    return {f"facts.{name}": value for name, value in values.items()}


def test_facts_that_differ_within_a_combination_and_seed_are_unplanned_and_those_between_seeds_are_not():
    runs = [
        run({"norm": norm}, seed, params=facts(torch=f"2.1{seed}", threads="2" if norm == "none" else str(1 + seed)))
        for norm in ("none", "rmsnorm")
        for seed in (0, 1)
    ]
    configs = {made.run_id: {} for made in runs}
    factors = find_factors(runs)
    assert list(unplanned(runs, configs, factors)) == ["facts.threads"]


def test_fact_that_follows_from_a_changed_setting_is_not_told_again_and_a_change_of_its_own_is():
    def made(seed, precision, threads):
        return run({"norm": "none"}, seed, params=facts(precision=precision, threads=threads))

    runs = [made(0, "32", "1"), made(0, "bf16-mixed", "2"), made(1, "32", "2")]
    settings = dict(zip((made.run_id for made in runs), ("32", "auto", "32"), strict=True))
    configs = {run_id: {"trainer": {"precision": precision}} for run_id, precision in settings.items()}
    assert list(unplanned(runs, configs, [])) == ["facts.threads", "trainer.precision"]
    # Under one setting two precisions: the setting does not explain it.
    configs[runs[2].run_id]["trainer"]["precision"] = "auto"
    assert list(unplanned(runs, configs, [])) == ["facts.precision", "facts.threads", "trainer.precision"]


def test_facts_that_were_not_recorded_are_unknown_and_no_difference():
    old, new = run({"norm": "none"}), run({"norm": "rmsnorm"}, params=facts(precision="32", torch="2.14"))
    again = run({"norm": "none"}, params=facts(precision="32", torch="2.14"))
    configs = {made.run_id: {} for made in (old, new, again)}
    assert confounds([old, new], configs, find_factors([old, new])) == []
    assert unplanned([old, new, again], configs, find_factors([old, new, again])) == {}


@pytest.mark.parametrize(
    ("factor", "fact"),
    [
        ("tokenizer.vocab_size", "tokenizer"),
        ("data.num_examples", "data"),
        ("model.max_seq_len", "validation_targets"),
        ("pattern", "test_targets"),
        ("task.mask_fraction", "objective"),
        ("trainer.precision", "precision"),
    ],
)
def test_option_owns_the_facts_that_follow_from_it(factor, fact):
    runs = [run({factor: value}, params=facts(**{fact: value * 64}, threads=value)) for value in "12"]
    (found,) = confounds(runs, {made.run_id: {} for made in runs}, find_factors(runs))
    assert found.key == "facts.threads"


def test_other_data_are_told_beside_another_path():
    runs = [
        run({"norm": norm}, params=facts(data=digest, test_data=digest)) for norm, digest in (("a", "1"), ("b", "2"))
    ]
    configs = {made.run_id: {"data": {"path": made.run_id}} for made in runs}
    found = confounds(runs, configs, find_factors(runs))
    assert [confound.key for confound in found] == ["data.path", "facts.data"]


def test_seconds_of_two_devices_are_not_compared():
    def made(norm, seconds, device):
        return run({"norm": norm}, metrics={"time/train_seconds": seconds}, params=facts(device=device))

    runs = [made("none", 10.0, "cpu"), made("slow", 20.0, "cpu"), made("fast", 1.0, "cuda")]
    found = confounds(runs, {made.run_id: {} for made in runs}, find_factors(runs))
    assert [(confound.level, confound.key) for confound in found] == [
        ("slow", "time/train_seconds"),
        ("fast", "facts.device"),
    ]


def test_seconds_are_compared_by_medians_over_pairs_and_only_where_runs_agree_on_them():
    def found(none, slow):
        runs = [
            run({"norm": norm}, seed, metrics={"time/train_seconds": seconds})
            for norm, times in (("none", none), ("slow", slow))
            for seed, seconds in enumerate(times)
        ]
        return confounds(runs, {made.run_id: {} for made in runs}, find_factors(runs))

    (confound,) = found((10.0, 10.0, 11.9), (13.0, 13.0, 13.0))
    assert (confound.value, confound.baseline_value) == (13.0, 10.0)
    # The machine was busy with something else.
    assert found((10.0, 10.0, 500.0), (13.0, 13.0, 13.0)) == []


def test_a_fact_that_comes_with_a_level_is_a_difference():
    runs = [
        run({"model.d_model": width}, seed, params=facts(precision=precision, code="c"))
        for width, precision in (("64", "32"), ("128", "bf16-mixed"))
        for seed in (0, 1)
    ]
    configs = {made.run_id: {"model": {"d_model": int(made.choices["model.d_model"])}} for made in runs}
    (found,) = confounds(runs, configs, find_factors(runs, configs))
    assert (found.key, found.value, found.baseline_value) == ("facts.precision", "bf16-mixed", "32")


def test_facts_that_follow_from_others_or_from_the_factor_are_not_told_again():
    def made(label, **values):
        return run({"tokenizer": label}, params=facts(**values))

    runs = [made("bpe", tokenizer="t1", validation_targets="10"), made("byte", tokenizer="t2", validation_targets="30")]
    assert confounds(runs, {made.run_id: {} for made in runs}, find_factors(runs)) == []
    runs = [
        run({"norm": norm}, params=facts(data=norm, validation_data=norm, tokenizer=norm, validation_targets=norm))
        for norm in ("none", "rmsnorm")
    ]
    found = confounds(runs, {made.run_id: {} for made in runs}, find_factors(runs))
    assert [confound.key for confound in found] == ["facts.data"]


def test_costs_are_told_beyond_their_tolerance():
    def made(norm, seconds, flops):
        return run({"norm": norm}, metrics={"time/train_seconds": seconds, "flops/total": flops, "train/tokens": 100})

    runs = [made("none", 10.0, 1e9), made("slow", 14.0, 1.001e9), made("big", 10.5, 2e9)]
    found = confounds(runs, {made.run_id: {} for made in runs}, find_factors(runs))
    assert {(confound.level, confound.key, confound.value) for confound in found} == {
        ("slow", "time/train_seconds", 14.0),
        ("big", "flops/total", 2e9),
    }


def test_a_plugin_file_that_changed_between_two_levels_is_a_difference():
    runs = [
        run({"positions": positions}, params={"norm.plugin_digest": digest * 32})
        for positions, digest in (("none", "1"), ("rope", "2"))
    ]
    configs = {made.run_id: {"positions": {"name": made.choices["positions"]}} for made in runs}
    (found,) = confounds(runs, configs, find_factors(runs))
    assert (found.level, found.key, found.value) == ("rope", "norm.plugin_digest", "2" * 32)
