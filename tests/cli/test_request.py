"""What a command line asks for: its jobs, in their order, with values that mean the same wherever they are read."""

import gc
import time

import pytest
from hydra.core.config_store import ConfigStore

from lightning_tx.cli.request import Job, read_request
from lightning_tx.core.errors import ConfigError
from lightning_tx.studies import design as designs
from lightning_tx.studies.design import Row


def values(job: Job, *keys: str) -> tuple:
    return tuple(
        job.config[group][name] if name else job.config[group] for group, _, name in (k.partition(".") for k in keys)
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('study="a,b"', "a,b"),
        ("study='v2: q=k'", "v2: q=k"),
        ("study=it\\,s", "it,s"),
        ("study=''", ""),
        ("study='null'", "null"),
        ("study='\\'quoted\\''", "'quoted'"),
    ],
)
def test_a_quoted_value_means_the_same_in_a_run_and_in_a_sweep(line: str, text: str) -> None:
    assert read_request([line], multirun=False).jobs[0].config["study"] == text
    request = read_request([line, "seed=0,1"], multirun=True)
    assert [(job.config["study"], job.config["seed"]) for job in request.jobs] == [(text, 0), (text, 1)]
    # What a launcher is told is understood by Hydra as the same once more.
    for job in request.jobs:
        assert read_request(job.overrides, multirun=False).jobs[0].config == job.config


def test_levels_that_need_quotes_stay_apart() -> None:
    request = read_request(["init_from='a,b','c=d',\"e: f\",null,'null',3,'3'", "seed=0"], multirun=True)
    assert [job.config["init_from"] for job in request.jobs] == ["a,b", "c=d", "e: f", None, "null", 3, "3"]
    for job in request.jobs:
        assert read_request(job.overrides, multirun=False).jobs[0].config == job.config


def test_the_first_key_varies_slowest_even_if_it_is_the_seed() -> None:
    request = read_request(["seed=0,1", "model.num_layers=2,1", "norm=rmsnorm", "positions=rope,none"], multirun=True)
    assert [values(job, "seed", "model.num_layers", "positions.name") for job in request.jobs] == [
        (seed, layers, name) for seed in (0, 1) for layers in (2, 1) for name in ("rope", "none")
    ]
    assert request.jobs[0].title == "seed=0 model.num_layers=2 norm=rmsnorm positions=rope"


def test_values_are_listed_by_ranges_and_patterns() -> None:
    request = read_request(["positions=glob(rope_*)", "seed=range(0,3,2)"], multirun=True)
    assert [job.labels["positions"] for job in request.jobs[::2]] == [
        "rope_linear",
        "rope_llama3",
        "rope_ntk",
        "rope_yarn",
    ]
    assert [job.config["seed"] for job in request.jobs[:2]] == [0, 2]


@pytest.mark.parametrize("line", ["model.dropout=interval(0,1)", "seed=range(0,0)", "positions=glob(nothing*)"])
def test_what_cannot_be_listed_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match=r"^(model\.dropout|seed|positions): .* has no values that can be listed"):
        read_request([line], multirun=True)


def test_a_later_override_of_a_key_takes_the_place_of_the_first() -> None:
    request = read_request(["seed=0,1", "norm=rmsnorm,none", "seed=5"], multirun=True)
    assert [job.overrides for job in request.jobs] == [("seed=5", "norm=rmsnorm"), ("seed=5", "norm=none")]
    assert request.swept == ("norm",)


def test_settings_of_a_launcher_are_no_part_of_a_job() -> None:
    """They are told before or after the launcher is chosen, which alone has them."""
    node = {"_target_": "hydra_plugins.some.Launcher", "n_jobs": 1}
    ConfigStore.instance().store(group="hydra/launcher", name="some", node=node)
    request = read_request(["hydra.launcher.n_jobs=2", "seed=0,1", "hydra/launcher=some"], multirun=True)
    assert [job.overrides for job in request.jobs] == [("seed=0",), ("seed=1",)]


@pytest.mark.parametrize("sweeper", ["basic"])
def test_another_sweeper_is_refused(sweeper: str) -> None:
    with pytest.raises(ConfigError, match="hydra/sweeper: only rows"):
        read_request([f"hydra/sweeper={sweeper}", "seed=0,1"], multirun=True)


def test_a_design_decides_which_combinations_there_are(monkeypatch) -> None:
    monkeypatch.setattr(designs, "_designs", dict(designs._designs))

    @designs.design
    def one_at_a_time(factors, seeds):
        changed = [{key: level} for key, levels in factors.items() for level in levels[1:]]
        return [Row(arm, seed) for arm in [*changed, {}] for seed in seeds]

    line = ["seed=0,1", "positions=rope,none,alibi", "model.num_layers=1", "norm=rmsnorm,layernorm"]
    request = read_request(line, multirun=True, design="one_at_a_time")
    found = [(job.config["seed"], job.labels["positions"], job.labels["norm"]) for job in request.jobs]
    arms = [("rope", "rmsnorm"), ("rope", "layernorm"), ("none", "rmsnorm"), ("alibi", "rmsnorm")]
    assert found == [(seed, *arm) for seed in (0, 1) for arm in arms]
    assert all(job.config["model"]["num_layers"] == 1 for job in request.jobs)
    with pytest.raises(ConfigError, match="no design 'halves'"):
        read_request(line, multirun=True, design="halves")


def test_a_design_without_rows_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(designs, "_designs", {"nothing": lambda factors, seeds: []})
    with pytest.raises(ConfigError, match="design: nothing makes no runs of seed"):
        read_request(["seed=0,1"], multirun=True, design="nothing")


def test_deleting_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"~model\.nothing: there is no value to delete"):
        read_request(["~model.nothing"], multirun=False)
    with pytest.raises(ConfigError, match=r"~model\.num_layers: its value is 4, not 3"):
        read_request(["~model.num_layers=3", "seed=0,1"], multirun=True)


def test_two_hundred_and_forty_jobs_are_read_in_little_time() -> None:
    """Measured in processor time, which other processes do not lengthen; composed one by one it is sixteen seconds."""
    read_request([], multirun=False)  # whatever is imported at first use
    line = (
        "positions=none,rope,alibi,learned,sinusoidal attention=mha,mqa,gqa norm=rmsnorm,layernorm "
        "feed_forward=gelu,relu,swiglu,geglu seed=0,1"
    )
    gc.freeze()
    began = time.process_time()
    request = read_request(line.split(), multirun=True)
    seconds = time.process_time() - began
    gc.unfreeze()
    assert len(request.jobs) == 240 and seconds < 6


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (["seed=range(0,100000000)"], "seed has more than 10,000 values"),
        (["seed=range(0,5000)", "norm=rmsnorm,layernorm,none"], "seed has 5,000 values, norm has 3 values"),
    ],
)
def test_a_sweep_without_end_is_refused_at_once(line: list[str], counts: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError) as error:
        read_request(line, multirun=True)
    assert str(error.value) == f"A sweep has 10,000 runs at most, and {counts}."
    assert time.process_time() - start < 1


def test_a_range_is_no_list_of_choices() -> None:
    with pytest.raises(ConfigError) as error:
        read_request(["adapter=range(0,100000000)"], multirun=True)
    assert len(error.value.problems) == 10
    assert error.value.problems[0].startswith("adapter: there is no choice '0'. Choices: ")
