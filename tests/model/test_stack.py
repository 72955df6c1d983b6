"""What holds for whole stacks: causality, packing, padding, and decoding step by step."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.core.context import Memory
from lightning_tx.kernels.cache import Cache
from tests.model.configs import small_model, tokens

POSITIONS = ["none", "sinusoidal", "learned", "rope"]
ATTENTIONS: dict[str, dict[str, Any]] = {"mha": {}, "gqa": {"num_kv_heads": 2}, "mqa": {"num_kv_heads": 1}}
T = 10
EXACT = {"rtol": 0, "atol": 1e-11}


def changed_tokens(ids: Tensor, position: int) -> Tensor:
    other = ids.clone()
    other[:, position] = (other[:, position] + 1) % 50
    return other


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_decoder_sees_the_past_alone_and_an_encoder_everything(positions: str) -> None:
    ids = tokens(2, T)
    for topology in ("decoder", "encoder"):
        model = small_model(topology, positions=positions)
        affected = (model(ids).x - model(changed_tokens(ids, 4)).x).abs().amax(dim=(0, 2)) > 1e-9
        assert affected.nonzero()[:, 0].tolist() == list(range(4 if topology == "decoder" else 0, T))


@pytest.mark.parametrize("positions", POSITIONS)
def test_an_encoder_notices_order_by_its_positions_alone(positions: str) -> None:
    model, ids = small_model("encoder", positions=positions), torch.arange(T)[None]
    order = torch.randperm(T, generator=torch.Generator().manual_seed(0))
    gap = (model(ids[:, order]).x - model(ids).x[:, order]).abs().max()
    assert gap < 1e-11 if positions == "none" else gap > 1e-2


@pytest.mark.parametrize("topology", ["decoder", "encoder"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_packed_documents_are_separate_documents(topology: str, positions: str) -> None:
    model = small_model(topology, positions=positions)
    lengths, ids = [4, 1, 3, 2], tokens(2, T)
    documents = torch.tensor([i for i, length in enumerate(lengths) for _ in range(length)])[None].expand(2, -1)
    packed = model(ids, documents_BT=documents).x
    for own, together in zip(ids.split(lengths, dim=1), packed.split(lengths, dim=1), strict=True):
        torch.testing.assert_close(together, model(own).x, **EXACT)


@pytest.mark.parametrize("topology", ["decoder", "encoder"])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(topology: str, positions: str, side: str) -> None:
    model, lengths = small_model(topology, positions=positions), [T, 6, 1]
    rows = [tokens(1, length, seed=length) for length in lengths]
    batch, mask = torch.full((3, T), 7), torch.zeros(3, T).bool()
    for i, row in enumerate(rows):
        here = slice(T - row.shape[1], T) if side == "left" else slice(0, row.shape[1])
        batch[i, here], mask[i, here] = row[0], True
    padded = model(batch, token_mask_BT=mask).x
    for i, row in enumerate(rows):
        torch.testing.assert_close(padded[i][mask[i]], model(row).x[0], **EXACT)


def test_padding_and_packing_combine() -> None:
    model, ids = small_model("decoder", positions="learned"), tokens(1, T)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2, 2]])
    mask = torch.tensor([[0, 1, 1, 0, 1, 1, 1, 1, 1, 0]]).bool()
    packed = model(ids, documents_BT=documents, token_mask_BT=mask).x
    for here in ([1, 2], [4, 5, 6], [7, 8]):
        torch.testing.assert_close(packed[:, here], model(ids[:, here]).x, **EXACT)


def test_given_positions_are_used() -> None:
    model, ids = small_model("decoder", positions="learned"), tokens(2, 4)
    weight = model.stack.positions.embedding.weight
    shifted = model(ids, positions_BT=torch.arange(4)[None] + 3).x
    with torch.no_grad():
        weight.copy_(weight.roll(-3, 0))
    torch.testing.assert_close(shifted, model(ids).x, **EXACT)


def test_a_step_back_in_given_positions_is_hidden() -> None:
    model, ids = small_model("decoder"), tokens(1, 4)
    backwards = model(ids, positions_BT=torch.tensor([[3, 2, 1, 0]])).x
    torch.testing.assert_close(backwards, model(ids.flip(1)).x.flip(1), **EXACT)


CHUNKS = {"token by token": list(range(T + 1)), "in chunks": [0, 4, 5, 9, 10], "at once": [0, T]}


@torch.no_grad()
@pytest.mark.parametrize("attention", ATTENTIONS.values(), ids=ATTENTIONS)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("bounds", CHUNKS.values(), ids=CHUNKS)
def test_cached_is_the_full_pass(positions: str, attention: dict[str, Any], bounds: list[int]) -> None:
    model, ids, cache = small_model(positions=positions, attention=attention), tokens(3, T), Cache()
    steps = [model(ids[:, start:end], cache=cache).x for start, end in pairwise(bounds)]
    torch.testing.assert_close(torch.cat(steps, dim=1), model(ids).x, **EXACT)
    assert cache.length == T
    kv_heads = attention.get("num_kv_heads", 4)
    assert cache.num_bytes == 2 * 2 * 3 * kv_heads * T * 4 * 8  # layers, k and v, rows, heads, time, width, bytes


LEFT = torch.arange(T)[None] >= torch.tensor([[0], [2], [7]])
DOCUMENTS = torch.tensor([[0] * T, [0] * 5 + [1] * 5, [0] * 8 + [1] * 2])


@torch.no_grad()
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("bounds", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize(
    "rows", [{"token_mask_BT": LEFT}, {"token_mask_BT": LEFT, "documents_BT": DOCUMENTS}], ids=["padding", "documents"]
)
def test_cached_with_left_padding_is_the_full_pass(positions: str, bounds: list[int], rows: dict[str, Tensor]) -> None:
    model, ids, cache = small_model(positions=positions, attention=ATTENTIONS["gqa"]), tokens(3, T), Cache()
    steps = [
        model(ids[:, start:end], cache=cache, **{name: row[:, start:end] for name, row in rows.items()}).x
        for start, end in pairwise(bounds)
    ]
    full = model(ids, **rows).x
    torch.testing.assert_close(torch.cat(steps, dim=1)[LEFT], full[LEFT], **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("positions", POSITIONS)
def test_selected_rows_go_on_as_if_they_had_been_alone(positions: str) -> None:
    model, ids, cache = small_model(positions=positions), tokens(3, T), Cache()
    rows = torch.tensor([2, 2, 1, 0, 1])
    model(ids[:, :4], token_mask_BT=LEFT[:, :4], cache=cache)
    cache.select(rows)
    found = model(ids[rows, 4:], token_mask_BT=LEFT[rows, 4:], cache=cache).x
    expected = model(ids, token_mask_BT=LEFT).x[rows, 4:]
    torch.testing.assert_close(found[LEFT[rows, 4:]], expected[LEFT[rows, 4:]], **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("positions", POSITIONS)
def test_cached_cross_attention_projects_the_memory_once(positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("encoder_decoder", positions=positions)
    source, target, mask = tokens(3, 6), tokens(3, T, seed=1), torch.arange(6)[None] < torch.tensor([[6], [4], [1]])
    full = model(source, target, source_token_mask_BS=mask).x
    projected: list[str] = []
    project = MultiHeadAttention.keys_values

    def counted(self: MultiHeadAttention, *arguments: Any) -> dict[str, Tensor]:
        projected.append(self.site.key)
        return project(self, *arguments)

    monkeypatch.setattr(MultiHeadAttention, "keys_values", counted)
    memory, _ = model.encode(source, mask)
    cache = Cache()
    steps = [model.decode(target[:, i : i + 1], memory, cache=cache).x for i in range(5)]
    rows = torch.tensor([2, 0])
    cache.select(rows)
    chosen = Memory(memory.x_BSD[rows], mask[rows])
    rest = model.decode(target[rows, 5:], chosen, cache=cache).x
    torch.testing.assert_close(torch.cat(steps, dim=1), full[:, :5], **EXACT)
    torch.testing.assert_close(rest, full[rows, 5:], **EXACT)
    assert projected.count("decoder.0.cross_attention") == projected.count("decoder.1.cross_attention") == 1
    assert projected.count("decoder.0.self_attention") == 6
