from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_tx
from lightning_tx import register
from lightning_tx.components.pattern.base import PATTERN, Pattern
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from tests.model.configs import config, tokens


def problems(config: dict[str, Any], **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        build_model(config, **options)
    return raised.value.problems


def test_every_problem_is_reported_at_once() -> None:
    wrong = config(
        sizes={"d_modl": 3, "num_heads": "4", "overrides": [{"layers": "x", "norm": {"name": "batchnorm"}}]},
        positions={"base": 0},
        attention={"num_kv_head": 2},
        norm="rmsnrom",
        adapter={"name": "lora", "rank": 0},
    )
    del wrong["block"]
    found = problems(wrong)
    assert {problem.split(": ")[0] for problem in found} == {
        "model.d_modl",
        "model.num_heads",
        "model.overrides[0].layers",
        "model.overrides[0].norm.name",
        "positions.base",
        "attention.num_kv_head",
        "norm.name",
        "block",
        "adapter.rank",
    }


def test_components_that_do_not_fit_are_reported_together() -> None:
    wrong = config(
        sizes={"head_dim": 5, "overrides": [{"layers": 9, "norm": {"name": "none"}}]}, attention={"num_kv_heads": 3}
    )
    assert [problem.split(": ")[0] for problem in problems(wrong)] == [
        "model.head_dim",
        "attention.num_kv_heads",
        "model.overrides[0]",
    ]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sizes": {"num_heads": 5}}, "model.num_heads"),
        ({"sizes": {"d_model": 20}, "positions": "rope"}, "model.head_dim"),
        ({"sizes": {"d_model": 15, "num_heads": 5}, "positions": "sinusoidal"}, "model.d_model"),
        ({"attention": {"num_kv_heads": 3}}, "attention.num_kv_heads"),
        ({"sizes": {"vocab_size": None}}, "model.vocab_size"),
        ({"sizes": {"dropout": 1.0}}, "model.dropout"),
        ({"sizes": {"num_layers": 0}}, "model.num_layers"),
        ({"adapter": {"name": "lora", "targets": ["query"]}}, "adapter.targets"),
        ({"adapter": {"name": "lora", "targets": ["lm_head"]}}, "adapter.targets"),
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], key: str) -> None:
    (problem,) = problems(config(**changes))
    assert problem.startswith(f"{key}: ")


@pytest.mark.parametrize("group", ["model", "norm", "adapter"])
@pytest.mark.parametrize("value", ["decoder", None, {}, {"name": ["decoder"]}], ids=str)
def test_what_is_no_config_is_refused(group: str, value: Any) -> None:
    (problem,) = problems(config() | {group: value})
    assert problem.startswith(group)


def test_nothing_given_names_every_group() -> None:
    assert problems({}) == ["model: missing. Choices: decoder, encoder, encoder_decoder."]
    missing = problems({"model": config()["model"]})
    assert [problem.split(": ")[0] for problem in missing] == [
        "positions",
        "attention",
        "pattern",
        "norm",
        "block",
        "feed_forward",
    ]


def test_the_config_is_left_as_it_was() -> None:
    given = config(adapter="lora")
    build_model(given)
    assert given == config(adapter="lora")


def test_other_keys_are_ignored() -> None:
    assert isinstance(build_model(config(data={"name": "python_docs"}, seed={"value": 1})), nn.Module)


def test_the_package_offers_it() -> None:
    assert lightning_tx.build_model is build_model


def test_the_vocabulary_is_the_tokenizer_s_unless_told() -> None:
    unknown = config(sizes={"vocab_size": None})
    assert build_model(unknown, vocab_size=70).vocab_size == 70
    assert build_model(config(), vocab_size=40).vocab_size == 50
    (problem,) = problems(config(), vocab_size=51)
    assert problem.startswith("model.vocab_size: 50 ")
    assert "51" in problem


@pytest.mark.parametrize(
    ("vocab_size", "multiple", "rows"), [(50, 64, 64), (64, 64, 64), (65, 64, 128), (50, 1, 50), (50, 7, 56)]
)
def test_the_embedding_is_padded_to_a_multiple(vocab_size: int, multiple: int, rows: int) -> None:
    model = build_model(config(sizes={"vocab_size": vocab_size, "vocab_multiple": multiple}))
    assert model.vocab_size == vocab_size
    assert model.token_embedding.weight.shape == model.lm_head.weight.shape == (rows, 16)
    assert model.head.logits(model(tokens(2, 3)).x).shape == (2, 3, rows)


@pytest.mark.parametrize("topology", ["decoder", "encoder", "encoder_decoder"])
def test_tying_shares_the_weight(topology: str) -> None:
    tied = build_model(config(topology, sizes={"tie_embeddings": True}))
    assert tied.lm_head.weight is tied.token_embedding.weight
    untied = build_model(config(topology, sizes={"tie_embeddings": False}))
    assert not torch.equal(untied.lm_head.weight, untied.token_embedding.weight)


def test_the_embedding_scale_defaults_to_the_square_root_of_the_width() -> None:
    ids = tokens(2, 3)
    for scale, factor in ((None, 4.0), (1.0, 1.0), (2.5, 2.5)):
        model = build_model(config(sizes={"embedding_scale": scale}))
        torch.testing.assert_close(model.embed(ids), model.token_embedding.weight[ids] * factor)


def test_dropout_acts_in_training_alone() -> None:
    ids = tokens(2, 8)
    with_dropout = build_model(config(sizes={"dropout": 0.5}))
    without = build_model(config())
    assert torch.equal(with_dropout.eval()(ids).x, without(ids).x)
    assert not torch.equal(with_dropout.train()(ids).x, without(ids).x)


@pytest.fixture
def picky_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's pattern: two tokens back and, unless its width is odd, nothing else."""
    PATTERN.names()
    monkeypatch.setattr(PATTERN, "_classes", dict(PATTERN._classes))

    @register("pattern", "picky")
    class Picky(Pattern):
        def __init__(self, *, width: int = 2) -> None:
            if width % 2:
                raise ConfigError(f"pattern.width: {width} is odd.")
            self.width = width

        def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
            return (q_positions - k_positions).abs() <= self.width


@pytest.mark.usefixtures("picky_pattern")
def test_a_plugin_s_component_takes_its_place() -> None:
    model = build_model(config(pattern="picky", positions="none", sizes={"num_layers": 1})).eval()
    ids = tokens(1, 8)
    changed = ids.clone()
    changed[0, 3] = (ids[0, 3] + 1) % 50
    affected = (model(ids).x != model(changed).x).any(dim=-1)[0]
    assert affected.nonzero()[:, 0].tolist() == [3, 4, 5]


@pytest.mark.usefixtures("picky_pattern")
def test_a_component_that_refuses_hides_no_other_problem() -> None:
    wrong = config(pattern={"name": "picky", "width": 3}, attention={"num_kv_heads": 3})
    assert [problem.split(": ")[0] for problem in problems(wrong)] == ["pattern.width", "attention.num_kv_heads"]
