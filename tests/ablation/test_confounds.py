from lightning_tx.ablation.confounds import confounds, differences, unplanned
from lightning_tx.ablation.factors import find_factors
from tests.ablation.studies import run


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
    runs = [run({"norm": "rmsnorm"}, seed, params={"data_digest": digest}) for seed, digest in enumerate("ab")]
    assert list(unplanned(runs, {made.run_id: {} for made in runs}, [])) == ["data_digest"]


def test_a_plugin_file_that_changed_between_two_levels_is_a_difference():
    runs = [
        run({"positions": positions}, params={"norm.plugin_digest": digest * 32})
        for positions, digest in (("none", "1"), ("rope", "2"))
    ]
    configs = {made.run_id: {"positions": {"name": made.choices["positions"]}} for made in runs}
    (found,) = confounds(runs, configs, find_factors(runs))
    assert (found.level, found.key, found.value) == ("rope", "norm.plugin_digest", "2" * 32)
