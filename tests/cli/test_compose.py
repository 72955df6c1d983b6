"""Overrides become plain dicts, and everything wrong with them is said at once."""

from itertools import zip_longest

import pytest

from lightning_tx.cli.compose import compose, configured, labels_in, plain, understood
from lightning_tx.cli.request import read_request
from lightning_tx.cli.session import hydra_session
from lightning_tx.core.errors import ConfigError
from lightning_tx.groups import GROUPS
from lightning_tx.model.build import build_model
from lightning_tx.model.count import count_parameters


def test_a_group_choice_and_a_value_reach_the_plain_config() -> None:
    config = compose(["attention=mqa", "model.num_layers=2"])
    assert config["attention"] == {
        "name": "multi_head",
        "num_kv_heads": 1,
        "bias": False,
        "output_bias": None,
        "qk_norm": False,
        "value_residual": False,
        "dropout": 0.0,
        "logit_cap": None,
        "sinks": False,
        "output_gate": None,
    }
    assert config["model"]["num_layers"] == 2
    assert type(config["model"]) is dict
    assert "hydra" not in config


def test_scientific_notation_is_a_number() -> None:
    assert compose()["optimizer"]["eps"] == 1e-9


def test_a_model_preset_brings_its_components_and_the_command_line_has_the_last_word() -> None:
    preset = compose(["model=llama3_8b", "norm=layernorm"])
    assert preset["positions"]["base"] == 500_000.0
    assert preset["attention"]["num_kv_heads"] == 8
    assert preset["norm"]["name"] == "layernorm"


@pytest.mark.parametrize(
    ("preset", "num_layers", "d_model", "d_ff", "num_heads"),
    [
        ("llama3_8b", 32, 4096, 14336, 32),
        ("llama3_70b", 80, 8192, 28672, 64),
        ("llama3_405b", 126, 16384, 53248, 128),
    ],
)
def test_a_llama3_preset_is_a_decoder_with_its_sizes_and_components(
    preset: str, num_layers: int, d_model: int, d_ff: int, num_heads: int
) -> None:
    parts = ["positions=rope", "attention=gqa", "norm=rmsnorm", "block=pre_norm", "feed_forward=swiglu"]
    sizes = [f"{num_layers=}", f"{d_model=}", f"{d_ff=}", f"{num_heads=}", "max_seq_len=8192", "vocab_size=128256"]
    start = ["tie_embeddings=false", "embedding_scale=1.0", "embedding_std=0.02", "linear_std=0.02"]
    options = ["positions.base=500000.0", "attention.num_kv_heads=8", *(f"model.{option}" for option in sizes + start)]
    assert compose([f"model={preset}"]) == compose([*parts, *options])


def test_a_label_in_overrides_becomes_its_file() -> None:
    config = compose(['model.overrides=[{layers: "1::2", feed_forward: gelu}]'])
    assert config["model"]["overrides"] == [{"layers": "1::2", "feed_forward": {"name": "gelu", "bias": False}}]


def test_all_unknown_choices_are_named_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["positions=ropee", "norm=batchnorm"])
    first, second = caught.value.problems
    assert first.startswith("positions: ") and "Did you mean 'rope'?" in first and "sinusoidal" in first
    assert second.startswith("norm: ") and "layernorm, none, rmsnorm" in second


@pytest.mark.parametrize("override", ["model.typo=3", "+model.typo=3", "++model.typo=3"])
def test_an_unknown_key_is_left_for_the_check_to_name(override: str) -> None:
    assert compose([override])["model"]["typo"] == 3


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError):
        compose(["a=b=["])


def test_several_values_need_a_multirun() -> None:
    with pytest.raises(ConfigError, match=r"positions: .*--multirun"):
        read_request(["positions=none,rope"], multirun=False)


def test_a_sweep_is_the_product_in_order_of_the_command_line() -> None:
    request = read_request(["positions=none,rope", "model.num_layers=1", "seed=range(2)"], multirun=True)
    assert request.is_sweep and request.swept == ("positions", "seed")
    assert [(job.config["positions"]["name"], job.config["seed"]) for job in request.jobs] == [
        ("none", 0),
        ("none", 1),
        ("rope", 0),
        ("rope", 1),
    ]
    assert request.jobs[3].labels["positions"] == "rope"
    assert request.jobs[3].labels["model.num_layers"] == "1"
    assert "seed" not in request.jobs[3].labels


def test_an_experiment_brings_its_own_sweep_and_the_command_line_changes_it() -> None:
    request = read_request(["experiment=ablation", "positions=rope"], multirun=False)
    assert request.is_sweep and len(request.jobs) == 10
    assert {job.config["positions"]["name"] for job in request.jobs} == {"rope"}


def test_a_mistake_in_a_sweep_is_found_before_it_runs() -> None:
    with pytest.raises(ConfigError, match="'ropee'"):
        read_request(["positions=none,ropee"], multirun=True)


def test_every_choice_of_every_group_composes() -> None:
    """All groups at once: the first choice of each, then the second of those that have one, and so on."""
    groups = (*GROUPS, "trainer", "experiment")
    with hydra_session():
        labels = [[f"{group}={label}" for label in labels_in(group)] for group in groups]
    for overrides in zip_longest(*labels):
        with understood([override for override in overrides if override]) as parsed:
            plain(configured(parsed))


def test_nanomoe_is_nanogpt_with_experts_in_every_second_layer() -> None:
    counts = {
        name: count_parameters(
            build_model(compose([f"experiment={name}_shakespeare_char", "data.path=x"]), vocab_size=65, device="meta")
        )
        for name in ("nanogpt", "nanomoe")
    }
    matrices, router = 2 * 128 * 512, 128 * 8
    assert counts["nanogpt"].total == counts["nanogpt"].active == 804_096
    assert counts["nanomoe"].active == 804_096 + 2 * (matrices + router)
    assert counts["nanomoe"].total == 804_096 + 2 * (7 * matrices + router)
