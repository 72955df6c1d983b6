"""Configs put together from few compositions are what Hydra composes of the same command line, key by key."""

import random
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from omegaconf import OmegaConf

from lightning_tx.cli import compose as composing
from lightning_tx.cli import request as requesting
from lightning_tx.cli.compose import CONFIG_GROUPS, labels_in, understood
from lightning_tx.cli.request import Request, read_request
from lightning_tx.cli.session import hydra_session

#: Overrides of values, each with the values that it may take; keys that not all choices have are added.
VALUES = {
    "seed": ["0", "7"],
    "model.d_model": ["32", "64", "${model.num_heads}"],
    "model.dropout": ["0.1", "null"],
    "model.d_ff": ["${model.d_model}"],
    "model.overrides": ["[]", '[{layers:"1::2",feed_forward:{name:moe,top_k:1}},{site:cross_attention}]'],
    "+model.typo": ["3"],
    "++norm.eps": ["1e-3", "0.5"],
    "++positions.extra": ["{a:1,b:[x,'y,z']}", "'1'"],
    "optimizer.lr": ["1e-3", "3e-4"],
    "trainer.patience": ["null", "2"],
    "root": ["elsewhere"],
    "study": ["'a,b'", '"v2: q=k"', "it\\,s"],
    "~model.max_seq_len": [""],
    "~optimizer.beta1": [""],
    "init_from": ["run-1", "'null'", "true"],
}


@pytest.fixture(autouse=True)
def _take_all_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What choices drawn by chance take back of each other is no matter here."""
    monkeypatch.setattr(requesting, "overruled", lambda *_: [])


def by_hydra(request: Request, config_dirs: tuple[str, ...] = ()) -> list[tuple[dict, dict[str, str]]]:
    """The config and the chosen labels of every job as Hydra itself composes them."""
    found = []
    with understood([], config_dirs):
        for job in request.jobs:
            composed = hydra_compose("config", overrides=list(job.overrides), return_hydra_config=True)
            chosen = {group: label for group, label in composed.hydra.runtime.choices.items() if label is not None}
            own = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
            found.append((OmegaConf.to_container(own, resolve=True), chosen))
    return found


def assert_same(request: Request, config_dirs: tuple[str, ...] = ()) -> None:
    for job, (config, chosen) in zip(request.jobs, by_hydra(request, config_dirs), strict=True):
        assert job.config == config, job.title
        assert list(job.config) == list(config)
        labels = {group: label for group, label in job.labels.items() if group in CONFIG_GROUPS}
        known = [group for group in CONFIG_GROUPS if group != "tracking"]  # where runs lie is no label
        assert labels == {group: label for group, label in chosen.items() if group in known}


def random_sweep(rng: random.Random) -> list[str]:
    """A command line of a few choices and values, some of them swept, in any order."""
    with hydra_session():
        labels = {group: labels_in(group) for group in CONFIG_GROUPS}
    groups = rng.sample([group for group in CONFIG_GROUPS if group != "experiment"], rng.randint(2, 5))
    line = []
    for group in groups + ["experiment"] * (rng.random() < 0.5):
        count = rng.choice([1, 1, 2, 3]) if group != "experiment" else rng.choice([1, 1, 2])
        line.append(f"{group}={','.join(rng.sample(labels[group], min(count, len(labels[group]))))}")
    for key in rng.sample(sorted(VALUES), rng.randint(1, 5)):
        if key.startswith("~"):
            line.append(key)
        else:
            several = rng.sample(VALUES[key], rng.randint(1, min(2, len(VALUES[key]))))
            line.append(f"{key}={','.join(several)}")
    rng.shuffle(line)
    return line


def check_random_sweeps(seeds: range) -> None:
    jobs = 0
    for seed in seeds:
        line = random_sweep(random.Random(seed))
        request = read_request(line, multirun=True)
        if len(request.jobs) <= 48:
            jobs += len(request.jobs)
            assert_same(request)
    assert jobs >= len(seeds)


def test_random_sweeps_are_what_hydra_composes() -> None:
    check_random_sweeps(range(6))


@pytest.mark.slow
def test_many_random_sweeps_are_what_hydra_composes() -> None:
    check_random_sweeps(range(1000, 1150))


@pytest.mark.parametrize(
    "line",
    [
        "model=decoder,llama3_8b positions=rope,alibi attention=mha,gqa",
        "experiment=smoke,nanomoe_shakespeare_char norm=rmsnorm,layernorm ++data.path=x",
        "model=llama3_8b,llama3_70b norm=layernorm,dynamic_tanh feed_forward=gelu,mixtral",
        "feed_forward=relu,moe,switch ++feed_forward.num_experts=4 schedule=noam,cosine",
        "~positions attention=mha,gqa norm=rmsnorm,none",
        "task=causal_lm,translation data=number_words tokenizer=byte,bpe decoding=glob(*)",
    ],
)
def test_choices_that_meddle_with_each_other(line: str) -> None:
    assert_same(read_request(line.split(), multirun=True))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder of choices that do what ours do not."""
    files = {
        "feed_forward/inherits": "defaults: [moe, _self_]\nnum_experts: 3\n",
        "feed_forward/elsewhere": "# @package model.inner\nname: gelu\n",
        "feed_forward/reads": "name: gelu\nbias: ${norm.name}\n",
        "norm/global": "# @package _global_\nnorm: {name: rmsnorm}\nattention: {name: multi_head, bias: true}\n",
        "data/depends": "# @package _global_\ndefaults:\n  - /norm@other: ${norm}\n",
        "data/pairs": "# @package _global_\ndefaults:\n  - optional /norm@pair: ${norm}_${attention}\n",
        "norm/rmsnorm_gqa": "name: both\n",
        "experiment/typed": "# @package _global_\nattention:\n  bias: true\nnorm:\n  eps: 1.0\n",
    }
    for name, text in files.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "feed_forward=inherits,elsewhere,reads norm=layernorm,rmsnorm attention=mha,gqa",
        "norm=global,layernorm attention=mha,gqa feed_forward=reads,relu",
        "data=depends norm=layernorm,rmsnorm attention=mha,gqa",
        "data=pairs norm=layernorm,rmsnorm attention=mha,gqa",
        "data=python_docs,pairs experiment=typed,smoke norm=layernorm,rmsnorm attention=mha,gqa",
    ],
)
def test_choices_of_another_folder(folder: str, line: str) -> None:
    assert_same(read_request(line.split(), multirun=True, config_dirs=[folder]), (folder,))


def test_a_product_takes_one_composition_for_each_alternative(monkeypatch) -> None:
    """Ten levels and the command line's own composition, not the sixty combinations."""
    calls = []
    original = composing.hydra_compose
    monkeypatch.setattr(composing, "hydra_compose", lambda *args, **more: calls.append(1) or original(*args, **more))
    line = "positions=none,rope,alibi,learned,sinusoidal attention=mha,mqa,gqa norm=rmsnorm,layernorm seed=0,1"
    assert len(read_request(line.split(), multirun=True).jobs) == 60
    assert len(calls) == 1 + 1 + 4 + 2 + 1
