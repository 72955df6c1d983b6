"""The encoder-decoder against the stacks of torch.nn, with the same weights."""

import pytest
import torch
from torch import Tensor, nn

from lightning_tx.core.context import Memory
from tests.model.configs import small_model, tokens

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
