from dataclasses import replace

import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.studies.factors import choose_baselines, find_factors, in_order
from lightning_tx.tracking.study import Row
from tests.studies.studies import run


def by_name(factors):
    return {factor.name: factor for factor in factors}


def test_factors_are_what_takes_more_than_one_value():
    runs = [
        run({"positions": positions, "attention": "mha", "adapter.rank": rank}, seed)
        for positions in ("none", "rope")
        for rank in ("16", "8")
        for seed in (0, 1)
    ]
    factors = find_factors(runs)
    assert [(factor.name, factor.levels) for factor in factors] == [
        ("positions", ("none", "rope")),
        ("adapter.rank", ("16", "8")),
    ]
    assert factors[0].level[runs[-1].run_id] == "rope"


def test_levels_come_in_the_order_in_which_the_sweep_ran_them():
    first, second, third = run({"norm": "rmsnorm"}), run({"norm": "none"}), run({"norm": "layernorm"})
    assert by_name(find_factors(in_order([third, second, first])))["norm"].levels == ("rmsnorm", "none", "layernorm")


def test_levels_come_in_the_order_in_which_they_were_asked_for_whoever_started_first():
    late, early, alone = run({"norm": "rmsnorm"}), run({"norm": "none"}), run({"norm": "layernorm"})
    rows = [Row(made.identity, "", 0, {}) for made in (early, late)]
    assert in_order([alone, late, early], rows) == [early, late, alone]


def test_runs_without_a_start_come_last():
    never = replace(run({"norm": "none"}), start_time=None)
    started = run({"norm": "rmsnorm"})
    assert in_order([never, started]) == [started, never]


def test_ignored_keys_and_the_seed_are_no_factors():
    runs = [run({"tracking": name, "seed": str(seed)}, seed) for seed, name in enumerate(["mlflow", "none"])]
    assert find_factors(runs, ignored=["tracking"]) == []


def test_option_that_another_sweep_left_alone_is_looked_up_in_the_config():
    swept = [run({"model.d_model": value}) for value in ("64", "128")]
    left_alone = run({})
    configs = {left_alone.run_id: {"model": {"d_model": 128}}}
    factor = by_name(find_factors([*swept, left_alone], configs))["model.d_model"]
    assert factor.level[left_alone.run_id] == "128"


def test_one_level_for_two_spellings():
    runs = [run({"optimizer.lr": text}) for text in ("1e-3", "0.001", "3e-4")]
    assert by_name(find_factors(runs))["optimizer.lr"].levels == ("0.001", "0.0003")


def test_option_of_some_choices_joins_the_choice():
    plain = run({"adapter": "none"})
    small, large = (run({"adapter": "lora", "adapter.rank": rank}) for rank in ("8", "16"))
    configs = {plain.run_id: {"adapter": {"name": "none"}}}
    (factor,) = find_factors([plain, small, large], configs)
    assert factor.levels == ("none", "lora rank=8", "lora rank=16")
    assert factor.keys == ("adapter", "adapter.rank")
    assert factor.owns("adapter.rank")
    assert factor.owns("adapter.alpha")
    assert not factor.owns("adapters")


def test_versions_of_a_plugin_file_are_levels_of_the_choice_that_comes_from_it():
    key = "feed_forward.plugin_digest"
    gelu, old, new = (
        run({"feed_forward": name}, params=params)
        for name, params in (("gelu", {}), ("own", {key: "1" * 32}), ("own", {key: "2" * 32}))
    )
    (factor,) = find_factors([gelu, old])
    assert factor.levels == ("gelu", "own") and factor.owns(key)
    (factor,) = find_factors([gelu, old, new])
    assert factor.levels == ("gelu", "own plugin_digest=11111111", "own plugin_digest=22222222")
    # A group that is no factor has no levels: such a change is told as a difference.
    assert find_factors([old, new]) == []


def test_baselines():
    labels = [("none", "pre_norm"), ("rmsnorm", "post_norm"), ("none", "post_norm")]
    factors = find_factors([run({"norm": norm, "block": block}) for norm, block in labels])
    assert choose_baselines(factors) == {"norm": "none", "block": "pre_norm"}
    assert choose_baselines(factors, {"norm": "rmsnorm"}) == {"norm": "rmsnorm", "block": "pre_norm"}
    with pytest.raises(ConfigError) as error:
        choose_baselines(factors, {"norms": "none", "block": "post-norm"})
    assert error.value.problems == [
        "baselines.norms: the study varies no such thing. Did you mean 'norm'? Factors: block, norm.",
        "baselines.block: 'post-norm' is none of its levels. Did you mean 'post_norm'? Levels: post_norm, pre_norm.",
    ]


def configured(choices, config):
    made = run(choices)
    return made, {made.run_id: config}


def study(*members):
    runs = [made for made, _ in members]
    return runs, {run_id: config for _, own in members for run_id, config in own.items()}


@pytest.mark.parametrize(
    ("texts", "value", "label"),
    [
        (("False", "false", "FALSE"), False, "false"),
        (("[0.9,0.98]", "[0.9, 0.98]"), [0.9, 0.98], "[0.9, 0.98]"),
        (("1e-3", "0.001", "1.0E-3"), 0.001, "0.001"),
        (("null", "~", "None"), None, "null"),
    ],
)
def test_one_level_for_one_value_however_it_was_written(texts, value, label):
    runs, configs = study(
        *(configured({"optimizer.x": text}, {"optimizer": {"x": value}}) for text in texts),
        configured({"optimizer.x": "other"}, {"optimizer": {"x": "other"}}),
    )
    assert by_name(find_factors(runs, configs))["optimizer.x"].levels == (label, "other")


def kv(label, heads, swept=False):
    choices = {"attention": label} | ({"attention.num_kv_heads": str(heads)} if swept else {})
    return configured(choices, {"attention": {"name": "multi_head", "num_kv_heads": heads}})


def test_option_that_one_choice_has_no_value_of_in_common_joins_the_choice():
    # First mha against gqa, then two numbers of heads for gqa alone: mha against gqa is kept.
    runs, configs = study(kv("mha", None), kv("gqa", 2), kv("gqa", 1, swept=True), kv("gqa", 2, swept=True))
    (factor,) = find_factors(runs, configs)
    assert factor.levels == ("mha", "gqa num_kv_heads=2", "gqa num_kv_heads=1")
    assert factor.level[runs[3].run_id] == factor.level[runs[1].run_id]


def test_option_that_is_crossed_with_the_choices_stays_a_factor():
    runs, configs = study(
        *(
            configured({"attention": label, "attention.bias": str(bias)}, {"attention": {"bias": bias}})
            for label in ("mha", "gqa")
            for bias in (False, True)
        )
    )
    assert [factor.name for factor in find_factors(runs, configs)] == ["attention", "attention.bias"]


def test_factors_that_always_changed_together_are_one():
    sizes = [("64", "2"), ("128", "4"), ("256", "8")]
    runs = [
        run({"model.d_model": width, "model.num_heads": heads, "norm": norm})
        for width, heads in sizes
        for norm in ("none", "rmsnorm")
    ]
    joint, norm = sorted(find_factors(runs), key=lambda factor: len(factor.aliased), reverse=True)
    assert joint.name == "model.d_model + model.num_heads"
    assert joint.levels == ("64 + 2", "128 + 4", "256 + 8")
    assert joint.aliased == ("model.d_model", "model.num_heads")
    assert joint.owns("model.num_heads") and norm.aliased == ()
    assert choose_baselines([joint], {"model.d_model": "128"}) == {joint.name: "128 + 4"}
    assert choose_baselines([joint], {joint.name: "256 + 8"}) == {joint.name: "256 + 8"}
    with pytest.raises(ConfigError, match="'100' is none of its levels"):
        choose_baselines([joint], {"model.d_model": "100"})


def test_factors_that_changed_together_but_once_are_two():
    runs = [run({"a": a, "b": b}) for a, b in [("0", "0"), ("1", "1"), ("1", "0")]]
    assert [factor.name for factor in find_factors(runs)] == ["a", "b"]


def test_spellings_of_runs_without_a_config_are_one_level_beside_one_with_it():
    known, configs = study(configured({"optimizer.betas": "[0.9,0.98]"}, {"optimizer": {"betas": [0.9, 0.98]}}))
    killed, other = run({"optimizer.betas": "[0.9, 0.98]"}), run({"optimizer.betas": "[0.9,0.95]"})
    (factor,) = find_factors([*known, killed, other], configs)
    assert factor.levels == ("[0.9, 0.98]", "[0.9, 0.95]")


def test_option_that_is_a_mapping_has_one_level_whether_it_was_swept_or_not():
    config = {"feed_forward": {"expert": {"name": "gelu"}}}
    runs, configs = study(
        configured({"feed_forward": "moe", "feed_forward.expert": "{name:gelu}"}, config),
        configured({"feed_forward": "moe"}, config),
    )
    assert find_factors(runs, configs) == []


def test_group_that_an_older_run_did_not_name_is_called_by_its_component():
    runs, configs = study(
        configured({"norm": "none"}, {"norm": {"name": "none"}}),
        configured({}, {"norm": {"name": "rmsnorm", "eps": 1}}),
    )
    (factor,) = find_factors(runs, configs)
    assert factor.levels == ("none", "rmsnorm")


def test_option_of_an_option_joins_the_choice_that_it_lies_below():
    plain = configured({"feed_forward": "gelu"}, {"feed_forward": {"name": "gelu"}})
    experts = [
        configured(
            {"feed_forward": "moe", "feed_forward.expert.name": name},
            {"feed_forward": {"name": "moe", "expert": {"name": name}}},
        )
        for name in ("swiglu", "relu")
    ]
    (factor,) = find_factors(*study(plain, *experts))
    assert factor.levels == ("gelu", "moe expert.name=swiglu", "moe expert.name=relu")


def test_baselines_are_read_as_levels_are():
    runs = [
        run({"optimizer.lr": lr, "optimizer.betas": betas}) for lr in ("0.01", "1e-3") for betas in ("[1,2]", "[3]")
    ]
    factors = find_factors(runs)
    assert choose_baselines(factors, {"optimizer.lr": "1e-3", "optimizer.betas": "[1,2]"}) == {
        "optimizer.lr": "0.001",
        "optimizer.betas": "[1, 2]",
    }


def test_baselines_of_factors_that_changed_together_must_be_of_one_level():
    (joint,) = find_factors([run({"a": "1", "b": "x"}), run({"a": "2", "b": "y"})])
    assert choose_baselines([joint], {"a": "2", "b": "y"}) == {"a + b": "2 + y"}
    with pytest.raises(ConfigError, match=r"^baselines\.b: 'x' was never run beside another baseline"):
        choose_baselines([joint], {"a": "2", "b": "x"})


def test_what_a_run_does_not_read_counts_as_the_first_level_of_those_that_do():
    without = {"ltx.unread": "pattern,model.num_heads"}
    runs = [
        run({"attention": "none"}, tags=without),
        run({"attention": "mha", "pattern": "local"}),
        run({"attention": "mha", "pattern": "full"}),
    ]
    configs = {each.run_id: {"pattern": {"name": "strided"}} for each in runs}
    attention, pattern = find_factors(runs, configs)
    assert attention.unread == frozenset()
    assert pattern.unread == {runs[0].run_id}
    assert pattern.levels == ("local", "full")
    assert [pattern.level[each.run_id] for each in runs] == ["local", "local", "full"]


def test_an_option_of_a_choice_that_is_not_read_is_not_read_either():
    runs = [
        run({"attention": "none"}, tags={"ltx.unread": "positions"}),
        run({"attention": "mha", "positions.base": "500"}),
        run({"attention": "mha", "positions.base": "1000"}),
    ]
    configs = {each.run_id: {"positions": {"base": 1.0}} for each in runs[:1]}
    (base,) = [factor for factor in find_factors(runs, configs) if factor.name == "positions.base"]
    assert base.levels == ("500", "1000")
