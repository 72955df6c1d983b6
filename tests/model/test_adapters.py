"""What every adapter keeps to, on whole models; and several named adapters on one base."""

import copy
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import nn

from lightning_tx.components.adapter.base import ADAPTER
from lightning_tx.components.adapter.low_rank import LowRankGrouped
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.cache import Cache
from lightning_tx.kernels.grouped_linear import GroupedLinear
from lightning_tx.model.adapters import Adapters, read_adapter
from lightning_tx.model.build import build_model
from lightning_tx.model.count import count_parameters, forward_flops_per_token
from lightning_tx.testing.values import randomise
from tests.components.adapter.models import adapted, logits
from tests.model.configs import config, small_model, tokens

ADAPTERS = {
    "lora": {"name": "lora", "rank": 2, "targets": ["q_proj", "v_proj", "down_proj"]},
    "rslora": {"name": "rslora", "rank": 2},
    "dora": {"name": "dora", "rank": 2},
    "pissa": {"name": "pissa", "rank": 2},
    "bottleneck": {"name": "bottleneck", "size": 3},
    "prefix": {"name": "prefix", "length": 2},
    "last_layer": {"name": "last_layer"},
}
MERGEABLE = ["lora", "rslora", "dora", "pissa", "last_layer"]
TOPOLOGIES = ["decoder", "encoder_decoder"]
every = pytest.mark.parametrize("name", ADAPTERS)


def inputs(model: Any) -> list[torch.Tensor]:
    return [tokens(2, 6, seed=seed) for seed in range(model.num_inputs)]


def parameters_of(tensors: Iterable[str]) -> set[str]:
    """The names of an adapter's tensors without its buffers."""
    return {name for name in tensors if not name.rpartition(".")[2].startswith("start_")}


def test_all_are_here() -> None:
    assert {*ADAPTERS, "none"} == {
        name for name in ADAPTER.names() if ADAPTER.get(name).__module__.startswith("lightning_tx.")
    }


@every
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_base_is_frozen_and_untouched_and_the_adapter_alone_learns(name: str, topology: str) -> None:
    base = small_model(topology)
    state, before = copy.deepcopy(base.state_dict()), logits(base, *inputs(base))
    adapter = ADAPTER.create(ADAPTERS[name])
    if adapter.starts_as_base:
        model = adapter.apply(small_model(topology))
        torch.testing.assert_close(logits(model, *inputs(model)), before, rtol=0, atol=1e-13)
    model = adapted(base, ADAPTERS[name])
    own = adapter.state_dict(model)
    trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert parameters_of(own) == trained
    out = logits(model, *inputs(model))
    assert not torch.allclose(out, before)
    out.square().mean().backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (key in own), key
        assert key in own or torch.equal(parameter, state[key]), key
        assert key not in own or parameter.grad.abs().max() > 0, key


@every
def test_it_is_of_the_bases_dtype_and_device(name: str) -> None:
    for model in (small_model().bfloat16(), build_model(config(), device="meta")):
        made = ADAPTER.create(ADAPTERS[name]).apply(model)
        like = model.token_embedding.weight
        assert {(each.dtype, each.device) for each in made.parameters()} == {(like.dtype, like.device)}


@every
def test_a_variant_starts_where_its_baseline_starts_and_takes_its_weights(name: str) -> None:
    plain, variant = build_model(config(), seed=5), build_model({**config(), "adapter": ADAPTERS[name]}, seed=5)
    held = variant.state_dict()
    assert all(torch.equal(held[key], value) for key, value in plain.state_dict().items())
    assert all(parameter.requires_grad for parameter in plain.parameters())


@every
def test_it_compiles_without_graph_breaks(name: str) -> None:
    torch._dynamo.reset()
    one_layer = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    model = adapted(small_model("encoder_decoder", sizes=one_layer), ADAPTERS[name])
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    expected = model(*inputs(model)).x
    torch.testing.assert_close(compiled(*inputs(model)).x, expected, rtol=0, atol=1e-12)


@every
def test_a_cached_pass_is_the_full_pass(name: str) -> None:
    model = adapted(small_model(), ADAPTERS[name])
    with torch.no_grad():
        full, cache = model(inputs(model)[0]).x, Cache()
        parts = [model(part, cache=cache).x for part in inputs(model)[0].split([3, 1, 2], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), full, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("bias", [False, True])
def test_experts_are_adapted_one_by_one(name: str, bias: bool) -> None:
    experts = {"name": "moe", "num_experts": 5, "expert": {"name": "swiglu", "bias": bias}}
    adapter = {"name": name, "rank": 2, "targets": ["up_proj", "down_proj"]}
    model = adapted(small_model(feed_forward=experts), adapter)
    assert sum(isinstance(module, LowRankGrouped) for module in model.modules()) == 2 * len(model.stack.layers)
    x, counts = torch.randn(9, 16, dtype=torch.float64), torch.tensor([3, 0, 4, 1, 0])
    for wrapped in (module for module in model.modules() if isinstance(module, LowRankGrouped)):
        rows = x if wrapped.in_features == 16 else torch.randn(9, wrapped.in_features, dtype=torch.float64)
        out, weight, start = wrapped(rows, counts), wrapped.updated_weight(), 0
        for expert, count in enumerate(counts.tolist()):
            own = rows[start : start + count] @ weight[expert].T
            expected = own if wrapped.bias is None else own + wrapped.bias[expert]
            torch.testing.assert_close(out[start : start + count], expected, rtol=0, atol=1e-11)
            start += count
        assert not out[start:].any()  # the last row belongs to no expert
    before = logits(model)
    merged = ADAPTER.create(adapter).merge(model)
    torch.testing.assert_close(logits(merged), before, rtol=0, atol=1e-11)


@every
def test_its_cost_is_counted(name: str) -> None:
    flops = forward_flops_per_token({**config(), "adapter": ADAPTERS[name]})
    assert flops >= forward_flops_per_token(config())


@pytest.mark.parametrize("name", MERGEABLE)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_merged_is_wrapped_and_comes_back_frozen(name: str, topology: str) -> None:
    model = adapted(small_model(topology), ADAPTERS[name])
    wrapped = logits(model, *inputs(model))
    merged = ADAPTER.create(ADAPTERS[name]).merge(model)
    torch.testing.assert_close(logits(merged, *inputs(merged)), wrapped, rtol=0, atol=1e-11)
    assert merged.state_dict().keys() == small_model(topology).state_dict().keys()
    assert not any(parameter.requires_grad for parameter in merged.parameters())
    assert {type(module) for module in merged.modules()} == {type(module) for module in small_model(topology).modules()}


@pytest.mark.parametrize(("rank", "expected"), [(4, 36_864), (8, 73_728), (16, 147_456), (32, 294_912)])
def test_trainable_parameters_of_a_4_plus_4_translation_model(rank: int, expected: int) -> None:
    sizes = {"d_model": 128, "num_encoder_layers": 4, "num_decoder_layers": 4}
    lora = {"name": "lora", "rank": rank, "targets": ["q_proj", "k_proj", "v_proj"]}
    model = build_model({**config("encoder_decoder", sizes=sizes), "adapter": lora}, device="meta")
    assert count_parameters(model).trainable == expected


def test_ranks_and_alphas_by_target() -> None:
    lora = {
        "name": "lora",
        "rank": 4,
        "alpha": 8.0,
        "ranks": {"v_proj": 2, "stack.layers.1.*": 3},
        "alphas": {"k_*": 9.0},
    }
    model = adapted(small_model(), lora)
    found = {
        (layer, each): (module.lora_A.shape[0], module.lora_scale)
        for layer in (0, 1)
        for each in "qkv"
        if (module := model.get_submodule(f"stack.layers.{layer}.sublayers.self_attention.{each}_proj"))
    }
    assert found == {
        (0, "q"): (4, 2.0), (0, "k"): (4, 9 / 4), (0, "v"): (2, 4.0),
        (1, "q"): (3, 8 / 3), (1, "k"): (3, 3.0), (1, "v"): (3, 8 / 3),
    }  # fmt: skip
    with pytest.raises(ConfigError) as raised:
        adapted(small_model(), lora | {"ranks": {"o_proj": 1}, "alphas": {"x": 1.0}})
    assert [problem[:25] for problem in raised.value.problems] == [
        "adapter.ranks: 'o_proj' m",
        "adapter.alphas: 'x' match",
    ]


def test_an_update_of_each_expert() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up_proj = GroupedLinear(3, 5, 7, bias=True)

    model = Experts().double()
    randomise(model)
    plain = copy.deepcopy(model.up_proj)
    layer = adapted(model, {"name": "lora", "rank": 2, "alpha": 3.0, "targets": ["up_proj"]}).up_proj
    assert isinstance(layer, LowRankGrouped)
    assert (layer.lora_A.weight.shape, layer.lora_B.weight.shape) == ((3, 2, 5), (3, 7, 2))
    x, counts = (
        torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        torch.tensor([1, 0, 5]),
    )
    expected = plain(x, counts)
    for expert, rows in ((0, slice(0, 1)), (2, slice(1, 6))):
        expected[rows] += 1.5 * x[rows] @ layer.lora_A.weight[expert].T @ layer.lora_B.weight[expert].T
    torch.testing.assert_close(layer(x, counts), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.merged()(x, counts), expected, rtol=0, atol=1e-12)


def randomise_adapter(adapters: Adapters, name: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for value in adapters.state_dict(name).values():
        value += 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)


class TestSeveral:
    def all_of(self, topology: str = "decoder") -> Adapters:
        adapters = Adapters(small_model(topology))
        for seed, name in enumerate(ADAPTERS):
            adapters.add(name, ADAPTERS[name])
            randomise_adapter(adapters, name, seed)
        return adapters

    @pytest.mark.parametrize("topology", TOPOLOGIES)
    def test_each_computes_as_it_would_alone_and_the_base_returns_bit_for_bit(self, topology: str) -> None:
        adapters = self.all_of(topology)
        model, base = adapters.model, small_model(topology)
        plain, state = logits(base, *inputs(base)), base.state_dict()
        alone = {}
        for name in ADAPTERS:
            single = Adapters(small_model(topology))
            single.add(name, ADAPTERS[name])
            randomise_adapter(single, name, list(ADAPTERS).index(name))
            single.use(name)
            alone[name] = logits(single.model, *inputs(base))
        for name in [*ADAPTERS, None, *reversed(ADAPTERS), None]:
            adapters.use(name)
            expected = plain if name is None else alone[name]
            assert torch.equal(logits(model, *inputs(base)), expected), name
            trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
            assert trained == (parameters_of(adapters.state_dict(name)) if name else set())
        assert model.state_dict().keys() == state.keys()
        assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
        assert {type(module) for module in model.modules()} == {type(module) for module in base.modules()}

    @pytest.mark.parametrize("name", MERGEABLE)
    def test_unmerged_is_wrapped_again_bit_for_bit(self, name: str) -> None:
        adapters = self.all_of()
        adapters.use(name)
        model, x = adapters.model, inputs(adapters.model)
        wrapped, state = logits(model, *x), copy.deepcopy(model.state_dict())
        adapters.merge()
        torch.testing.assert_close(logits(model, *x), wrapped, rtol=0, atol=1e-11)
        assert not any(parameter.requires_grad for parameter in model.parameters())
        adapters.unmerge()
        assert torch.equal(logits(model, *x), wrapped)
        assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
        assert any(parameter.requires_grad for parameter in model.parameters())
        adapters.merge()
        adapters.use(None)
        assert torch.equal(logits(model, *x), logits(small_model(), *x))

    @every
    def test_the_file_holds_the_adapter_alone_and_fits_another_copy_of_the_base(self, name: str, tmp_path) -> None:
        adapters, other = self.all_of(), Adapters(small_model())
        adapters.save(name, tmp_path / "a.safetensors")
        config, held = read_adapter(tmp_path / "a.safetensors")
        assert config == ADAPTERS[name]
        assert held.keys() == adapters.state_dict(name).keys()
        other.load("loaded", tmp_path / "a.safetensors")
        assert other.active is None
        adapters.use(name)
        other.use("loaded")
        assert torch.equal(logits(adapters.model), logits(other.model))

    def test_a_new_one_starts_as_it_does_when_the_model_is_built_with_it(self) -> None:
        for name in ADAPTERS:
            built = build_model({**config(), "adapter": ADAPTERS[name]}, seed=3)
            adapters = Adapters(build_model(config(), seed=3))
            adapters.add(name, ADAPTERS[name], seed=3)
            adapters.use(name)
            own = adapters.state_dict(name)
            assert all(torch.equal(built.state_dict()[key], value) for key, value in own.items())

    def test_a_trained_copy_starts_from_what_the_base_holds(self) -> None:
        adapters = Adapters(small_model())
        for name in ("last_layer", "bottleneck"):
            adapters.add(name, ADAPTERS[name])
            adapters.use(name)
            torch.testing.assert_close(logits(adapters.model), logits(small_model()), rtol=0, atol=1e-13)

    def test_it_follows_a_base_that_moved_in_between(self) -> None:
        adapters = self.all_of()
        adapters.model.float()
        for name in ADAPTERS:
            adapters.use(name)
            assert logits(adapters.model).dtype == torch.float32

    def test_switching_keeps_the_mode(self) -> None:
        adapters = self.all_of()
        for name, training in (("lora", True), ("prefix", False), ("lora", True), (None, False)):
            adapters.use(name)
            adapters.model.train(training)
            adapters.use("last_layer")
            assert {module.training for module in adapters.model.modules()} == {training}

    def test_mistakes_are_named(self, tmp_path) -> None:
        adapters = self.all_of()
        wrong = adapters.state_dict("lora")
        with pytest.raises(ConfigError, match=r"adapter: there is no 'french'. There are: bottleneck, dora"):
            adapters.use("french")
        with pytest.raises(ConfigError, match="adapter: there is a 'lora' already"):
            adapters.add("lora", ADAPTERS["lora"])
        with pytest.raises(ConfigError, match="adapter: none is in use"):
            adapters.merge()
        adapters.use("prefix")
        with pytest.raises(ConfigError, match="prefix cannot be merged"):
            adapters.merge()
        with pytest.raises(ConfigError, match=r"adapter.targets: 'x' matches no"):
            adapters.add("new", {"name": "lora", "targets": ["x"]})
        assert (adapters.active, adapters.names) == ("prefix", list(ADAPTERS))
        adapters.save("lora", tmp_path / "lora.safetensors")
        other = Adapters(small_model(sizes={"d_ff": 32}))
        with pytest.raises(ConfigError, match=r"another base: they differ in stack.*down_proj.lora_A"):
            other.load("lora", tmp_path / "lora.safetensors")
        assert other.names == []
        (tmp_path / "x").write_bytes(b"x")
        for path in (tmp_path / "x", tmp_path / "none"):
            with pytest.raises(ConfigError, match="no weights"):
                other.load("lora", path)
        with pytest.raises(ConfigError, match="the model has an adapter"):
            Adapters(adapted(small_model(), ADAPTERS["lora"])).add("more", ADAPTERS["lora"])
        assert wrong.keys() == adapters.state_dict("lora").keys()
