from dataclasses import replace

import pytest

from lightning_tx.ablation.factors import choose_baselines, find_factors, in_order
from lightning_tx.core.errors import ConfigError
from tests.ablation.studies import run


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
    assert by_name(find_factors([third, second, first]))["norm"].levels == ("rmsnorm", "none", "layernorm")


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
    factors = find_factors([run({"norm": "none", "block": "pre_norm"}), run({"norm": "rmsnorm", "block": "post_norm"})])
    assert choose_baselines(factors) == {"norm": "none", "block": "pre_norm"}
    assert choose_baselines(factors, {"norm": "rmsnorm"}) == {"norm": "rmsnorm", "block": "pre_norm"}
    with pytest.raises(ConfigError) as error:
        choose_baselines(factors, {"norms": "none", "block": "post-norm"})
    assert error.value.problems == [
        "baselines.norms: the study varies no such thing. Did you mean 'norm'? Factors: block, norm.",
        "baselines.block: 'post-norm' is none of its levels. Did you mean 'post_norm'? Levels: post_norm, pre_norm.",
    ]
