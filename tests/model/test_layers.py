"""What layers of one stack share, carry and are told."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_tx.components.attention.base import ATTENTION
from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.feed_forward.base import FEED_FORWARD, FeedForward
from lightning_tx.components.positions.rope import Rope
from lightning_tx.core.context import Context, Output
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Normal, declare
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.build import build_model
from lightning_tx.model.config import ModelConfig
from lightning_tx.model.count import count_parameters
from lightning_tx.model.parts import Parts
from lightning_tx.model.sizes import Sizes
from lightning_tx.model.weights import Weights, fill, load_weights, save_weights
from tests.model.configs import config, small_model, tokens

T = 9
EXACT = {"rtol": 0, "atol": 1e-11}


def built(topology: str = "decoder", layers: int = 4, sizes: Any = None, **parts: Any) -> Any:
    depth = {"num_encoder_layers": layers, "num_decoder_layers": layers}
    own = depth if topology == "encoder_decoder" else {"num_layers": layers}
    return small_model(topology, sizes={**own, **(sizes or {})}, **parts)


def problems(layers: int = 4, topology: str = "decoder", sizes: Any = None, **parts: Any) -> list[str]:
    depth = {"num_encoder_layers": layers, "num_decoder_layers": layers}
    own = depth if topology == "encoder_decoder" else {"num_layers": layers}
    with pytest.raises(ConfigError) as raised:
        build_model(config(topology, sizes={**own, **(sizes or {})}, **parts), device="meta")
    return raised.value.problems


def decoded(model: Any, ids: Tensor, bounds: list[int]) -> Tensor:
    cache = Cache()
    with torch.no_grad():
        return torch.cat([model(ids[:, a:b], cache=cache).x for a, b in pairwise(bounds)], dim=1)


class TestPositionsByLayer:
    NOPE = {"layers": "1::2", "positions": {"name": "none"}}

    def test_rotation_stays_where_no_override_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """NoPE in every second layer: attention there is that of a model without positions."""
        mixed = built(sizes={"overrides": [self.NOPE]})
        queries: list[tuple[int, Tensor, Tensor]] = []
        original = MultiHeadAttention.queries

        def watched(self: Any, x_BTD: Tensor, rotate: Any) -> Tensor:
            queries.append((self.site.layer, original(self, x_BTD, lambda x: x), original(self, x_BTD, rotate)))
            return queries[-1][2]

        monkeypatch.setattr(MultiHeadAttention, "queries", watched)
        mixed(tokens(2, T))
        assert [(layer, torch.equal(plain, turned)) for layer, plain, turned in queries] == [
            (0, False),
            (1, True),
            (2, False),
            (3, True),
        ]

    def test_every_layer_overridden_is_the_choice_itself(self) -> None:
        whole = built(positions="none")
        by_layer = built(sizes={"overrides": [{"layers": ":", "positions": {"name": "none"}}]})
        torch.testing.assert_close(by_layer(tokens(2, T)).x, whole(tokens(2, T)).x, **EXACT)

    def test_a_bias_by_layer(self) -> None:
        """ALiBi in the last layer alone does what it does in a model of one layer."""
        ids = tokens(2, T)
        alibi = {"positions": {"name": "alibi"}}
        one = built(layers=1, positions="alibi")
        last = built(layers=2, positions="none", sizes={"overrides": [{"layers": 1, **alibi}]})
        with torch.no_grad():  # the first layer adds nothing
            for name in ("self_attention.o_proj", "feed_forward.down_proj"):
                for parameter in last.get_submodule(f"stack.layers.0.sublayers.{name}").parameters():
                    parameter.zero_()
            last.stack.layers[1].load_state_dict(one.stack.layers[0].state_dict())
            last.stack.final_norm.load_state_dict(one.stack.final_norm.state_dict())
            last.token_embedding.load_state_dict(one.token_embedding.state_dict())
            torch.testing.assert_close(last(ids).x, one(ids).x, **EXACT)

    def test_tables_are_computed_once_for_each_choice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[float] = []
        original = Rope._cos_sin
        monkeypatch.setattr(Rope, "_cos_sin", lambda self, *a: (calls.append(self.base), original(self, *a))[1])
        slow = {"layers": "1::2", "positions": {"name": "rope", "base": 500.0}}
        built(layers=6, sizes={"overrides": [slow]})(tokens(2, T))
        assert sorted(calls) == [500.0, 10_000.0]

    def test_decoding_and_packing(self) -> None:
        model, ids = built(sizes={"overrides": [self.NOPE]}), tokens(2, T)
        torch.testing.assert_close(decoded(model, ids, [0, 4, 5, T]), model(ids).x, **EXACT)
        documents = torch.tensor([[0] * 4 + [1] * 5]).expand(2, -1)
        packed = model(ids, documents_BT=documents).x
        torch.testing.assert_close(packed[:, 4:], model(ids[:, 4:]).x, **EXACT)

    @pytest.mark.parametrize("name", ["learned", "sinusoidal"])
    def test_what_is_added_to_the_embedding_is_no_matter_of_layers(self, name: str) -> None:
        (problem,) = problems(sizes={"overrides": [{"layers": "1:", "positions": {"name": name}}]})
        assert problem.startswith(f"model.overrides[0].positions: {name!r} adds to the embedding")

    def test_an_embedding_stays_under_layers_that_rotate(self) -> None:
        model = built(positions="learned", sizes={"overrides": [{"layers": 1, "positions": {"name": "rope"}}]})
        assert isinstance(model.stack.other_positions[0], Rope)
        assert model.stack.max_positions == 16

    @pytest.mark.parametrize(
        ("own", "override", "read"),
        [
            ("rope", {"layers": "1::2", "positions": {"name": "none"}}, (True, True)),
            ("rope", {"layers": ":", "positions": {"name": "none"}}, (False, True)),
            ("none", {"layers": 0, "positions": {"name": "rope"}}, (True, True)),
            ("sinusoidal", {"layers": ":", "positions": {"name": "rope"}}, (True, True)),
            ("sinusoidal", {"layers": 0, "positions": {"name": "none"}}, (True, False)),
        ],
        ids=str,
    )
    def test_what_is_read_of_them(self, own: str, override: dict[str, Any], read: tuple[bool, bool]) -> None:
        parsed = ModelConfig.parse(config(positions=own, sizes={"overrides": [override]}))
        parts = Parts(parsed)
        parsed.model.create(parts, Sizes(50))
        assert (parts.reads("positions"), parts.reads("positions", 0)) == read

    def test_layers_without_attention_read_none(self) -> None:
        overrides = [{"layers": 1, "attention": {"name": "none"}, "positions": {"name": "alibi"}}]
        parsed = ModelConfig.parse(config(sizes={"overrides": overrides}))
        parts = Parts(parsed)
        parsed.model.create(parts, Sizes(50))
        assert (parts.reads("positions"), parts.reads("positions", 0)) == (True, False)

    def test_a_trained_bias_is_one_for_all_layers_of_an_override(self) -> None:
        model = built(sizes={"overrides": [{"layers": "1:", "positions": {"name": "t5_relative"}}]})
        names = [name for name, _ in model.named_parameters() if "positions" in name]
        assert names == ["stack.other_positions.0.embedding.weight"]


class TestSharedLayers:
    @pytest.mark.parametrize("number", [1, 2])
    @pytest.mark.parametrize("topology", ["decoder", "encoder", "encoder_decoder"])
    def test_it_is_the_model_whose_layers_are_equal(self, topology: str, number: int) -> None:
        shared, plain = built(topology, sizes={"share_layers": number}), built(topology)
        plain.load_state_dict(shared.state_dict())
        ids = [tokens(2, T)] * shared.num_inputs
        torch.testing.assert_close(shared(*ids).x, plain(*ids).x, **EXACT)
        stack = list(shared.stacks.values())[-1]
        states = [{name: value.data_ptr() for name, value in layer.named_parameters()} for layer in stack.layers]
        assert [states.index(each) for each in states] == [index % number for index in range(4)]

    def test_parameters_count_once(self) -> None:
        depth = {layers: count_parameters(built(layers=layers)).total for layers in (2, 4)}
        assert count_parameters(built(layers=4, sizes={"share_layers": 2})).total == depth[2]

    def test_they_start_as_the_first_layers_of_a_model_of_the_same_depth(self) -> None:
        sizes = {"num_layers": 4}
        plain = build_model(config(sizes=sizes)).state_dict()
        shared = build_model(config(sizes={**sizes, "share_layers": 2})).state_dict()
        assert shared.keys() == plain.keys()
        for name, value in shared.items():
            first = name.replace("layers.2.", "layers.0.").replace("layers.3.", "layers.1.")
            assert torch.equal(value, plain[first]), name

    def test_each_layer_has_its_place_in_the_cache(self) -> None:
        model, ids = built(sizes={"share_layers": 1}), tokens(2, T)
        torch.testing.assert_close(decoded(model, ids, [0, 4, 5, 6, T]), model(ids).x, **EXACT)

    def test_patterns_and_positions_may_differ(self) -> None:
        local = {"layers": "1::2", "pattern": {"name": "local", "window": 2}, "positions": {"name": "none"}}
        model = built(sizes={"share_layers": 1, "overrides": [local]})
        assert [layer.sublayers["self_attention"].site.pattern is None for layer in model.stack.layers] == [
            True,
            False,
            True,
            False,
        ]

    @pytest.mark.parametrize(
        ("override", "group"),
        [
            ({"layers": 3, "feed_forward": {"name": "swiglu"}}, "feed_forward"),
            ({"layers": 2, "attention": {"name": "none"}}, "attention"),
            ({"layers": 2, "norm": {"name": "rmsnorm"}}, "norm"),
            ({"layers": 2, "block": {"name": "sandwich"}}, "block"),
        ],
    )
    def test_other_components_are_refused(self, override: dict[str, Any], group: str) -> None:
        (problem,) = problems(sizes={"share_layers": 2, "overrides": [override]})
        assert f"another {group} for layer {override['layers']}" in problem
        assert "model.share_layers: 2" in problem

    def test_overrides_that_repeat_with_the_layers_are_fine(self) -> None:
        model = built(sizes={"share_layers": 2, "overrides": [{"layers": "1::2", "feed_forward": {"name": "swiglu"}}]})
        assert model(tokens(2, T)).x.isfinite().all()

    def test_a_number_that_does_not_divide_the_depth(self) -> None:
        (problem,) = problems(sizes={"share_layers": 3})
        assert problem == ("model.share_layers: 3 does not divide the 4 layers of the decoder. Choices: 1, 2, 4.")

    def test_layers_with_different_parameters_are_refused(self) -> None:
        found = problems(sizes={"share_layers": 1}, attention={"value_residual": True})
        assert found[0] == (
            "model.share_layers: 1, but layers 0 and 1 differ in the parameter sublayers.self_attention.value_shares."
        )

    def test_weights_are_written_once_and_read_again(self, tmp_path: Any) -> None:
        model = built(sizes={"share_layers": 2})
        save_weights(model, tmp_path / "weights.safetensors")
        assert not any("layers.2." in name for name in Weights.read(tmp_path / "weights.safetensors").tensors)
        other = build_model(config(sizes={"num_layers": 4, "share_layers": 2}), seed=5).double().eval()
        load_weights(other, tmp_path / "weights.safetensors")
        assert torch.equal(other(tokens(2, T)).x, model(tokens(2, T)).x)

    def test_weights_of_layers_of_their_own_do_not_fit(self) -> None:
        with pytest.raises(ConfigError, match=r"the weights of another model: they differ in stack\.layers\.1"):
            fill(built(sizes={"share_layers": 1}), Weights.of(built(), "it"))

    def test_it_learns(self) -> None:
        model = built(sizes={"share_layers": 1}).train()
        model(tokens(2, T)).x.square().sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


class ValueEmbedding(MultiHeadAttention):
    """Values to which an embedding of the tokens is added."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site, num_kv_heads=2)
        if site.vocab_size is None:
            raise ConfigError("attention.name: value_embedding needs token ids.")
        self.tokens = nn.Embedding(site.vocab_size, 2 * dims.head_dim)
        declare(self.tokens, weight=Normal(1.0))

    def own(self, x_BTD: Tensor, ctx: Context) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        new = self.keys_values(x_BTD, ctx.rotate)
        assert ctx.token_ids_BT is not None
        new["v"] = new["v"] + self.tokens(ctx.token_ids_BT).unflatten(-1, (2, -1)).transpose(1, 2)
        return *self.expand(ctx.remember(self.site, new)), {}


class Parity(FeedForward):
    """Adds one of two vectors, chosen by the token's id."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.table = nn.Embedding(2, dims.d_model)
        declare(self.table, weight=Normal(1.0))

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        assert ctx.token_ids_BT is not None
        return Output(self.table(ctx.token_ids_BT % 2))


class SharesKeys(MultiHeadAttention):
    """Every second layer attends to the keys and values of the one before it."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        sizes = {"k": (dims.num_heads, dims.head_dim), "v": (dims.num_heads, dims.head_dim)}
        if site.layer % 2:
            self.needs = sizes
            del self.k_proj, self.v_proj
        else:
            self.carries = sizes

    def own(self, x_BTD: Tensor, ctx: Context) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        if self.needs:
            return ctx.carried["k"], ctx.carried["v"], {}
        k, v, _ = super().own(x_BTD, ctx)
        return k, v, {"k": k, "v": v}


@pytest.fixture
def registered() -> Iterator[None]:
    """The components of this module, for one test."""
    ATTENTION.register("value_embedding")(ValueEmbedding)
    ATTENTION.register("shares_keys")(SharesKeys)
    FEED_FORWARD.register("parity")(Parity)
    yield
    ATTENTION.forget(["value_embedding", "shares_keys"])
    FEED_FORWARD.forget(["parity"])


@pytest.mark.usefixtures("registered")
class TestTokenIds:
    def test_decoding_packing_and_padding(self) -> None:
        model, ids = built(attention="value_embedding", feed_forward="parity"), tokens(2, T)
        torch.testing.assert_close(decoded(model, ids, [0, 4, 5, T]), model(ids).x, **EXACT)
        documents = torch.tensor([[0] * 4 + [1] * 5]).expand(2, -1)
        packed = model(ids, documents_BT=documents).x
        torch.testing.assert_close(packed[:, 4:], model(ids[:, 4:]).x, **EXACT)
        mask = torch.ones(2, T, dtype=torch.bool)
        mask[:, :3] = False
        torch.testing.assert_close(model(ids, token_mask_BT=mask).x[:, 3:], model(ids[:, 3:]).x, **EXACT)

    def test_each_stack_reads_its_own(self) -> None:
        model = built("encoder_decoder", attention="value_embedding")
        source, target = tokens(2, T), tokens(2, T, seed=1)
        whole = model(source, target).x
        for position, ids in enumerate((source, target)):
            other = ids.clone()
            other[:, 0] = (other[:, 0] + 1) % 50
            pair = (other, target) if position == 0 else (source, other)
            assert (model(*pair).x - whole).abs().max() > 1e-3

    def test_they_are_those_of_the_stack(self) -> None:
        sizes = {"share_embeddings": False, "vocab_size": 50, "source_vocab_size": 130}
        model = built("encoder_decoder", sizes=sizes, attention="value_embedding")
        rows = [stack.layers[0].sublayers["self_attention"].tokens.num_embeddings for stack in model.stacks.values()]
        assert rows == [192, 64]  # multiples of 64


@pytest.mark.usefixtures("registered")
class TestCarried:
    def test_keys_of_the_layer_before(self) -> None:
        model, ids = built(attention="shares_keys"), tokens(2, T)
        cache = Cache()
        with torch.no_grad():
            steps = [model(part, cache=cache).x for part in ids.split([4, 1, 4], dim=1)]
        torch.testing.assert_close(torch.cat(steps, dim=1), model(ids).x, **EXACT)
        plain = built()
        with torch.no_grad():
            plain(ids, cache=(full := Cache()))
        assert cache.num_bytes * 2 == full.num_bytes

    @pytest.mark.parametrize("kind", ["shares_keys", {"value_residual": True}])
    def test_gradients_are_the_same_under_checkpointing(self, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def gradients() -> dict[str, Tensor]:
            model = built(attention=kind, block="hyper_connections").train()
            model(tokens(2, T)).x.square().sum().backward()
            return {name: parameter.grad for name, parameter in model.named_parameters()}

        plain = gradients()
        block = type(built(block="hyper_connections").stack.layers[0])
        runs: list[int] = []
        original = block.forward

        def counted(self: Any, x: Tensor, ctx: Context) -> Output:
            runs.append(1)
            return original(self, x, ctx)

        monkeypatch.setattr(
            block, "forward", lambda self, x, ctx: checkpoint(counted, self, x, ctx, use_reentrant=False)
        )
        again = gradients()
        assert len(runs) == 8  # each layer twice
        for name, grad in plain.items():
            torch.testing.assert_close(again[name], grad, **EXACT)

    def test_it_ends_with_the_stack(self) -> None:
        model = built("encoder_decoder", attention={"value_residual": True})
        assert model(tokens(2, T), tokens(2, T)).carried == {}
