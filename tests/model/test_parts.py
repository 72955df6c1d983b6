from typing import Any

import pytest

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.feed_forward.gelu import GELU
from lightning_tx.components.feed_forward.swiglu import SwiGLU
from lightning_tx.components.norm.layernorm import LayerNorm
from lightning_tx.components.norm.rmsnorm import RMSNorm
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from tests.model.configs import config

SWIGLU = {"feed_forward": {"name": "swiglu"}}
MQA = {"attention": {"name": "multi_head", "num_kv_heads": 1}}


def build(*overrides: Any, topology: str = "decoder", layers: int = 5) -> Any:
    depth = {"num_encoder_layers": layers, "num_decoder_layers": layers}
    sizes = depth if topology == "encoder_decoder" else {"num_layers": layers}
    return build_model(config(topology, sizes={**sizes, "overrides": list(overrides)}), device="meta")


def problems(*overrides: Any, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        build(*overrides, **options)
    return raised.value.problems


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ("1::2", {1, 3}),
        (":2", {0, 1}),
        ("3:", {3, 4}),
        ("::3", {0, 3}),
        ("1:4:2", {1, 3}),
        (":", {0, 1, 2, 3, 4}),
        (2, {2}),
        ("2", {2}),
        ([0, 4], {0, 4}),
    ],
)
def test_layers_are_an_index_a_list_or_a_slice(layers: Any, chosen: set[int]) -> None:
    model = build({"layers": layers, **SWIGLU})
    for index, layer in enumerate(model.stack.layers):
        assert isinstance(layer.sublayers["feed_forward"], SwiGLU if index in chosen else GELU)


def kv_heads(model: Any, stack: str, role: str) -> set[int]:
    attentions = [layer.sublayers[role] for layer in getattr(model, stack).layers]
    assert all(isinstance(attention, MultiHeadAttention) for attention in attentions)
    return {attention.num_kv_heads for attention in attentions}


def test_an_override_may_hold_at_one_site() -> None:
    model = build({"site": "cross_attention", **MQA}, topology="encoder_decoder")
    assert kv_heads(model, "decoder", "cross_attention") == {1}
    assert kv_heads(model, "decoder", "self_attention") == {4}
    assert kv_heads(model, "encoder", "self_attention") == {4}


def test_an_override_may_hold_in_one_stack() -> None:
    model = build({"stack": "decoder", **MQA}, topology="encoder_decoder")
    assert kv_heads(model, "decoder", "cross_attention") == kv_heads(model, "decoder", "self_attention") == {1}
    assert kv_heads(model, "encoder", "self_attention") == {4}
    positions = build({"stack": "encoder", "positions": {"name": "none"}}, topology="encoder_decoder")
    assert type(positions.encoder.positions).__name__ == "NoPositions"
    assert type(positions.decoder.positions).__name__ == "Rope"


def test_later_overrides_win_and_may_name_several_groups() -> None:
    model = build({"norm": {"name": "rmsnorm"}, **SWIGLU}, {"layers": 1, "feed_forward": {"name": "none"}})
    assert isinstance(model.stack.final_norm, RMSNorm)
    assert isinstance(model.stack.layers[0].sublayers["feed_forward"], SwiGLU)
    assert list(model.stack.layers[1].sublayers) == list(model.stack.layers[1].norms) == ["self_attention"]


def test_a_layer_s_norm_leaves_the_final_one() -> None:
    model = build({"layers": 4, "norm": {"name": "rmsnorm"}})
    assert isinstance(model.stack.layers[4].norms["feed_forward"], RMSNorm)
    assert isinstance(model.stack.layers[3].norms["feed_forward"], LayerNorm)
    assert isinstance(model.stack.final_norm, LayerNorm)


@pytest.mark.parametrize(
    "override",
    [
        {"layers": 5, **SWIGLU},
        {"layers": "7:", **SWIGLU},
        {"layers": [], **SWIGLU},
        {"stack": "encoder", **SWIGLU},
        {"site": "cross_attention", **MQA},
        {"site": "self_attention", **SWIGLU},
        {"layers": 7, "positions": {"name": "none"}},
        {"layers": 0, "site": "self_attention", "positions": {"name": "none"}},
        {"layers": 0, "site": "feed_forward", **SWIGLU, "positions": {"name": "none"}},
    ],
    ids=str,
)
def test_an_override_that_applies_nowhere_is_an_error(override: dict[str, Any]) -> None:
    (problem,) = problems({"layers": 0, **SWIGLU}, override)
    assert problem.startswith("model.overrides[1]: ")
    assert "applies nowhere" in problem


def test_a_norm_for_a_layer_without_norms_is_one_of_them() -> None:
    norm = {"name": "rmsnorm"}
    build({"layers": 0, "norm": norm, "block": {"name": "parallel"}})
    (problem,) = problems({"layers": 0, "norm": norm, "block": {"name": "rezero"}})
    assert "its norm applies nowhere" in problem


@pytest.mark.parametrize(
    ("override", "key", "word"),
    [
        ({"layer": 1, **SWIGLU}, ".layer", "'layers'"),
        ({"layers": 1}, "", "feed_forward"),
        ({"site": "cross", **MQA}, ".site", "cross_attention"),
        ({"stack": "both", **MQA}, ".stack", "encoder"),
        ({"layers": "::0", **SWIGLU}, ".layers", "'::0'"),
        ({"layers": "a", **SWIGLU}, ".layers", "'a'"),
        ({"layers": "", **SWIGLU}, ".layers", "''"),
        ({"layers": "1:2:3:4", **SWIGLU}, ".layers", "'1:2:3:4'"),
        ({"layers": -1, **SWIGLU}, ".layers", "-1"),
        ({"layers": True, **SWIGLU}, ".layers", "True"),
        ({"layers": [0, "1"], **SWIGLU}, ".layers", "'1'"),
        ({"feed_forward": "swiglu"}, ".feed_forward", "'swiglu'"),
        ({"feed_forward": {"name": "swigul"}}, ".feed_forward.name", "'swiglu'"),
        ({"feed_forward": {"name": "swiglu", "bais": True}}, ".feed_forward.bais", "'bias'"),
    ],
    ids=str,
)
def test_a_wrong_override_is_reported_under_its_key(override: dict[str, Any], key: str, word: str) -> None:
    (problem,) = problems({"layers": 0, **SWIGLU}, override)
    assert problem.startswith(f"model.overrides[1]{key}: ")
    assert word in problem
