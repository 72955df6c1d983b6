"""The encoder-decoder against the stacks of torch.nn, with the same weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.core.context import Memory
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.cache import Cache
from lightning_tx.kernels.masks import Mask
from lightning_tx.model.build import build_model
from lightning_tx.model.weights import load_weights, save_weights
from lightning_tx.testing.places import DIMS, context, site
from lightning_tx.testing.values import randomise
from tests.model.configs import config, small_model, tokens

D, H, F, L = 16, 4, 24, 2
SOURCE, TARGET = tokens(3, 7), tokens(3, 5, seed=1)
SOURCE_MASK = torch.arange(7)[None] < torch.tensor([[7], [4], [2]])
TARGET_MASK = torch.arange(5)[None] < torch.tensor([[5], [5], [3]])


def copy_layer(ours: nn.Module, theirs: nn.Module, names: dict[str, str], attentions: dict[str, str]) -> None:
    with torch.no_grad():
        for kind in ("weight", "bias"):
            for their, our in names.items():
                theirs.get_parameter(f"{their}.{kind}").copy_(ours.get_parameter(f"{our}.{kind}"))
            for their, our in attentions.items():
                stacked = [ours.get_parameter(f"sublayers.{our}.{name}_proj.{kind}") for name in "qkv"]
                theirs.get_parameter(f"{their}.in_proj_{kind}").copy_(torch.cat(stacked))
                out = ours.get_parameter(f"sublayers.{our}.o_proj.{kind}")
                theirs.get_parameter(f"{their}.out_proj.{kind}").copy_(out)


def reference_stacks(model: nn.Module, norm_first: bool) -> tuple[nn.TransformerEncoder, nn.TransformerDecoder]:
    sizes = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first}
    norms = [nn.LayerNorm(D) if norm_first else None for _ in range(2)]
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, F, **sizes), L, norms[0], False).double()
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(D, H, F, **sizes), L, norms[1]).double()
    feed_forward = {"linear1": "sublayers.feed_forward.up_proj", "linear2": "sublayers.feed_forward.down_proj"}
    for ours, theirs in zip(model.encoder.layers, encoder.layers, strict=True):  # type: ignore[arg-type]
        norm_names = {"norm1": "norms.self_attention", "norm2": "norms.feed_forward"}
        copy_layer(ours, theirs, feed_forward | norm_names, {"self_attn": "self_attention"})
    for ours, theirs in zip(model.decoder.layers, decoder.layers, strict=True):  # type: ignore[arg-type]
        norm_names = {
            "norm1": "norms.self_attention",
            "norm2": "norms.cross_attention",
            "norm3": "norms.feed_forward",
        }
        attentions = {"self_attn": "self_attention", "multihead_attn": "cross_attention"}
        copy_layer(ours, theirs, feed_forward | norm_names, attentions)
    for ours, theirs in ((model.encoder, encoder), (model.decoder, decoder)):
        if norm_first:
            theirs.norm.load_state_dict(ours.final_norm.state_dict())  # type: ignore[union-attr]
    return encoder.eval(), decoder.eval()


def translator(norm_first: bool) -> nn.Module:
    return small_model(
        "encoder_decoder",
        positions="sinusoidal",
        attention={"bias": True},
        feed_forward={"name": "relu", "bias": True},
        block="pre_norm" if norm_first else "post_norm",
    )


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_it_is_that_of_torch(norm_first: bool, padded: bool) -> None:
    model = translator(norm_first)
    encoder, decoder = reference_stacks(model, norm_first)
    source_mask, target_mask = (SOURCE_MASK, TARGET_MASK) if padded else (None, None)

    def embedded(ids: Tensor, stack: nn.Module) -> Tensor:
        return stack.positions.embed(model.embed(ids), torch.arange(ids.shape[1])[None])  # type: ignore[operator]

    source_padding = None if source_mask is None else ~source_mask
    target_padding = None if target_mask is None else ~target_mask
    memory = encoder(embedded(SOURCE, model.encoder), src_key_padding_mask=source_padding)
    expected = decoder(
        embedded(TARGET, model.decoder),
        memory,
        tgt_mask=torch.ones(5, 5).triu(1).bool(),
        tgt_key_padding_mask=target_padding,
        memory_key_padding_mask=source_padding,
    )
    found = model(SOURCE, TARGET, source_token_mask_BS=source_mask, token_mask_BT=target_mask).x
    real = TARGET_MASK if padded else torch.ones(3, 5).bool()
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-10)
    if padded:
        encoded, _ = model.encode(SOURCE, SOURCE_MASK)
        torch.testing.assert_close(encoded.x_BSD[SOURCE_MASK], memory[SOURCE_MASK], rtol=0, atol=1e-10)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_the_source_changes_nothing(side: str) -> None:
    model = translator(norm_first=True)
    padding, real = torch.full((3, 4), 7), torch.ones(3, 7).bool()
    order = (lambda x, y: [y, x]) if side == "left" else (lambda x, y: [x, y])
    padded = torch.cat(order(SOURCE, padding), dim=1)
    mask = torch.cat(order(real, torch.zeros(3, 4).bool()), dim=1)
    found = model(padded, TARGET, source_token_mask_BS=mask).x
    torch.testing.assert_close(found, model(SOURCE, TARGET).x, rtol=0, atol=1e-11)


def test_the_decoder_reads_all_of_the_source_and_only_the_past_of_the_target() -> None:
    model = translator(norm_first=True)
    baseline = model(SOURCE, TARGET).x
    source = SOURCE.clone()
    source[:, -1] = (source[:, -1] + 1) % 50
    assert (model(source, TARGET).x != baseline).any(dim=-1).all()
    target = TARGET.clone()
    target[:, 2] = (target[:, 2] + 1) % 50
    changed = (model(SOURCE, target).x != baseline).any(dim=-1)
    assert changed.int().tolist() == [[0, 0, 1, 1, 1]] * 3


def test_encode_then_decode_is_forward() -> None:
    model = translator(norm_first=False)
    memory, encoded = model.encode(SOURCE, SOURCE_MASK)
    assert isinstance(memory, Memory)
    assert encoded.losses == {}
    found = model.decode(TARGET, memory).x
    assert torch.equal(found, model(SOURCE, TARGET, source_token_mask_BS=SOURCE_MASK).x)


def separate(vocab_size: int | None = None, source_vocab_size: int | None = None, **options: Any) -> Any:
    """A model with an embedding for each side, for tokenizers of 50 and 70 entries."""
    sizes = {"share_embeddings": False, "vocab_size": vocab_size, "source_vocab_size": source_vocab_size} | options
    built = build_model(config("encoder_decoder", sizes=sizes), vocab_size=50, source_vocab_size=70)
    return randomise(built.double()).eval()


class TestEmbeddings:
    def test_one_serves_source_target_and_output(self) -> None:
        model = small_model("encoder_decoder")
        assert model.source_embedding is model.token_embedding
        assert model.lm_head.weight is model.token_embedding.weight
        assert sum(parameter.shape[0] == 64 for parameter in model.parameters()) == 1

    def test_each_side_has_its_own_of_its_vocabulary(self) -> None:
        model = separate(vocab_multiple=8)
        assert model.source_embedding.weight.shape == (72, D)
        assert model.token_embedding.weight.shape == (56, D)
        assert model.lm_head.weight is model.token_embedding.weight
        assert (model.head.vocab_size, model.head.out_features) == (50, 56)

    def test_all_three_may_be_separate(self) -> None:
        model = separate(tie_embeddings=False)
        matrices = [model.source_embedding.weight, model.token_embedding.weight, model.lm_head.weight]
        assert len({id(matrix) for matrix in matrices}) == 3

    def test_the_source_is_read_by_its_own(self) -> None:
        """It is the shared model whose embedding is another one while it encodes."""
        model, shared = separate(), small_model("encoder_decoder")
        state = {name: value for name, value in model.state_dict().items() if name != "source_embedding.weight"}
        shared.load_state_dict(state, strict=False)
        memory, _ = model.encode(SOURCE, SOURCE_MASK)
        expected = shared.decode(TARGET, memory).x
        found = model(SOURCE, TARGET, source_token_mask_BS=SOURCE_MASK).x
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        assert not torch.allclose(found, shared(SOURCE, TARGET, source_token_mask_BS=SOURCE_MASK).x)
        with torch.no_grad():
            shared.token_embedding.weight.copy_(model.source_embedding.weight[:64])
        torch.testing.assert_close(shared.encode(SOURCE, SOURCE_MASK)[0].x_BSD, memory.x_BSD, rtol=0, atol=1e-12)

    def test_a_gradient_goes_to_the_embedding_that_was_read(self) -> None:
        model = separate(tie_embeddings=False)
        model(SOURCE, TARGET).x.sum().backward()
        for embedding, ids in ((model.source_embedding, SOURCE), (model.token_embedding, TARGET)):
            touched = embedding.weight.grad.abs().sum(dim=1).nonzero()[:, 0].tolist()
            assert touched == sorted(set(ids.flatten().tolist()))

    def test_both_start_with_the_spread_of_embeddings(self) -> None:
        sizes = {"share_embeddings": False, "d_model": 64, "vocab_size": None}
        model: Any = build_model(config("encoder_decoder", sizes=sizes), vocab_size=900, source_vocab_size=1000)
        for embedding in (model.source_embedding, model.token_embedding):
            assert embedding.weight.std().item() == pytest.approx(64**-0.5, rel=0.02)
        assert not torch.equal(model.source_embedding.weight[:900], model.token_embedding.weight[:900])

    def test_an_own_size_goes_before_the_tokenizers(self) -> None:
        model = separate(vocab_size=120, source_vocab_size=130, vocab_multiple=1)
        assert (len(model.token_embedding.weight), len(model.source_embedding.weight)) == (120, 130)

    def test_without_a_source_tokenizer_the_targets_size_is_taken(self) -> None:
        sizes = {"share_embeddings": False, "vocab_multiple": 1}
        model: Any = build_model(config("encoder_decoder", sizes=sizes), vocab_size=50)
        assert len(model.source_embedding.weight) == 50

    @pytest.mark.parametrize("share", [True, False])
    @pytest.mark.parametrize("tie", [True, False])
    def test_weights_are_saved_and_loaded(self, share: bool, tie: bool, tmp_path: Path) -> None:
        sizes = {"share_embeddings": share, "tie_embeddings": tie}
        model, other = (build_model(config("encoder_decoder", sizes=sizes), seed=seed) for seed in (0, 1))
        save_weights(model, tmp_path / "model.safetensors")
        load_weights(other, tmp_path / "model.safetensors")
        assert torch.equal(model(SOURCE, TARGET).x, other(SOURCE, TARGET).x)
        ids = {id(parameter) for parameter in other.parameters()}
        assert len(ids) == len(list(model.parameters()))

    @pytest.mark.parametrize(
        ("sizes", "vocabularies", "start"),
        [
            ({}, {"vocab_size": 50, "source_vocab_size": 40}, "model.share_embeddings: true, but source and target"),
            ({"source_vocab_size": 64}, {"vocab_size": 50}, "model.share_embeddings: true, but source and target"),
            (
                {"share_embeddings": False, "source_vocab_size": 30},
                {"vocab_size": 50, "source_vocab_size": 40},
                "model.source_vocab_size: 30 is smaller than the tokenizer's vocabulary of 40.",
            ),
            (
                {"share_embeddings": False, "vocab_size": 30},
                {"vocab_size": 50, "source_vocab_size": 40},
                "model.vocab_size: 30 is smaller than the tokenizer's vocabulary of 50.",
            ),
        ],
    )
    def test_vocabularies_that_do_not_fit_are_refused(
        self, sizes: dict[str, Any], vocabularies: dict[str, int], start: str
    ) -> None:
        with pytest.raises(ConfigError) as raised:
            build_model(config("encoder_decoder", sizes=sizes), **vocabularies)
        (problem,) = raised.value.problems
        assert problem.startswith(start)


def test_padding_known_to_be_last_is_hidden_without_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("encoder_decoder", positions="learned")
    masked = model(SOURCE, TARGET, token_mask_BT=TARGET_MASK).x
    asked: list[int] = []
    dense = Mask.dense
    monkeypatch.setattr(Mask, "dense", lambda self: asked.append(self.q_positions.shape[1]) or dense(self))
    found = model(SOURCE, TARGET, token_mask_BT=TARGET_MASK, padding_last=True).x
    assert asked == []
    torch.testing.assert_close(found[TARGET_MASK], masked[TARGET_MASK], rtol=0, atol=1e-12)


class ToldPositions(MultiHeadAttention):
    cross_positions = True


@pytest.mark.parametrize("positions", ["rope", "alibi", "fire"])
def test_cross_attention_may_be_told_positions(positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the real tokens: padding before them moves nothing, and a cache holds the keys as they were turned."""
    plain = small_model("encoder_decoder", positions=positions)
    monkeypatch.setattr(MultiHeadAttention, "cross_positions", True)
    source, target = tokens(1, 5), tokens(1, 4, seed=1)
    found = plain(source, target).x
    padded = torch.cat([tokens(1, 3, seed=2), source], dim=1)
    mask = torch.tensor([[False] * 3 + [True] * 5])
    torch.testing.assert_close(plain(padded, target, source_token_mask_BS=mask).x, found, rtol=0, atol=1e-10)
    cache, (memory, _) = Cache(), plain.encode(source, None)
    steps = [plain.advance(x, token_mask_BT=None, cache=cache, memory=memory).x for x in target.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(steps, dim=1), found, rtol=0, atol=1e-10)
    monkeypatch.undo()
    assert (plain(source, target).x - found).abs().max() > 1e-3


def test_the_positions_of_cross_attention_turn_queries_and_keys_and_are_added() -> None:
    x, source = torch.randn(2, 4, 16).double(), torch.randn(2, 5, 16).double()
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]).bool()

    def bias(q: Tensor, k: Tensor) -> Tensor:
        return -((q - 2 * k).abs().double()[..., None, :, :])

    layer = randomise(ToldPositions(DIMS, site("cross_attention")).double())
    plain = context(4, bias=bias, memory=Memory(source, mask))
    turned = replace(plain, rotate=lambda q: 2 * q, rotate_memory=lambda k: 3 * k)
    q, k, v = (
        proj(y).unflatten(-1, (DIMS.num_heads, -1)).transpose(1, 2)
        for proj, y in ((layer.q_proj, x), (layer.k_proj, source), (layer.v_proj, source))
    )
    places = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]])  # real tokens are counted
    scores = 6 * q @ k.mT / DIMS.head_dim**0.5 + bias(torch.arange(4)[None, :, None], places[:, None, :])
    weights = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=-1)
    expected = layer.o_proj((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, turned).x, expected, rtol=0, atol=1e-12)
