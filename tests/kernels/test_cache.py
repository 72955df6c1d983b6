import pytest
import torch
from torch import Tensor

from lightning_tx.kernels.cache import Cache

B, G, K = 3, 2, 4


def steps(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, G, length, K, generator=generator) for length in lengths]


def test_tensors_grow_along_time_each_site_and_name_for_itself() -> None:
    cache, chunks = Cache(), steps(5, 1, 1, 7, 1)
    for index, chunk in enumerate(chunks):
        cache.extend(chunk.shape[2])
        held = cache.append("decoder.0", {"k": chunk, "v": -chunk})
        other = cache.append("decoder.1", {"k": 2 * chunk})
        seen = torch.cat(chunks[: index + 1], dim=2)
        assert torch.equal(held["k"], seen)
        assert torch.equal(held["v"], -seen)
        assert torch.equal(other["k"], 2 * seen)
        assert cache.length == seen.shape[2]


def test_what_is_known_of_the_tokens_grows_along() -> None:
    cache = Cache()
    first, second = torch.rand(B, 4) < 0.5, torch.rand(B, 2) < 0.5
    assert cache.extend(4, token_mask=first, documents=None)["documents"] is None
    both = cache.extend(2, token_mask=second, documents=None)["token_mask"]
    assert both is not None
    assert torch.equal(both, torch.cat([first, second], dim=1))


def test_rows_are_kept_repeated_and_dropped() -> None:
    cache, (first, second, third) = Cache(), steps(2, 3, 1)
    token_mask = torch.rand(B, 6) < 0.5
    projected = torch.randn(B, G, 5, K)
    for chunk, mask in ((first, token_mask[:, :2]), (second, token_mask[:, 2:5])):
        cache.extend(chunk.shape[2], token_mask=mask)
        cache.append("a", {"k": chunk})
        cache.once("cross", lambda: {"k": projected.clone()})
    rows = torch.tensor([2, 0, 2, 2])
    cache.select(rows)
    mask = cache.extend(1, token_mask=token_mask[rows, 5:])["token_mask"]
    assert mask is not None
    assert torch.equal(mask, token_mask[rows])
    held = cache.append("a", {"k": third[rows]})["k"]
    assert torch.equal(held, torch.cat([first, second, third], dim=2)[rows])
    assert torch.equal(cache.once("cross", dict)["k"], projected[rows])
    assert cache.length == 6


def test_one_row_may_become_several_beams() -> None:
    cache, rows = Cache(), torch.tensor([0, 0, 0])
    for length in (2, 1, 1):  # lengths that fill a buffer, and that leave room in it
        cache.extend(length, token_mask=torch.ones(1, length).bool(), positions=torch.zeros(1, length))
    cache.select(rows)
    for _ in range(5):
        held = cache.extend(1, token_mask=torch.tensor([[True], [False], [True]]), positions=torch.ones(1, 1))
    assert held["token_mask"] is not None
    assert held["token_mask"].int().tolist() == [[1] * 9, [1] * 4 + [0] * 5, [1] * 9]
    assert held["positions"] is not None
    assert held["positions"].tolist() == [[0.0] * 4 + [1.0] * 5] * 3


def test_memory_is_made_once() -> None:
    cache, calls = Cache(), []

    def make() -> dict[str, Tensor]:
        calls.append(1)
        return {"k": torch.ones(1)}

    assert cache.once("decoder.0", make) is cache.once("decoder.0", make)
    cache.once("decoder.1", make)
    assert len(calls) == 2


def test_bytes_are_those_of_the_tokens_seen() -> None:
    cache = Cache()
    assert cache.num_bytes == 0
    for chunk in steps(5, 1):
        cache.extend(chunk.shape[2])
        cache.append("a", {"k": chunk, "v": chunk.half()})
    cache.once("cross", lambda: {"k": torch.zeros(B, 7)})
    assert cache.num_bytes == B * G * 6 * K * (4 + 2) + B * 7 * 4


def test_only_what_is_still_needed_is_kept() -> None:
    cache, whole = Cache(), torch.randn(2, 3, 40, 5)
    for start in range(0, 40, 4):
        new = whole[:, :, start : start + 4]
        held = cache.append("site", {"k": new}, keep=7)["k"]
        assert torch.equal(held, whole[:, :, max(0, start - 7) : start + 4])
    assert cache.num_bytes == 2 * 3 * 11 * 5 * 4
    cache.select(torch.tensor([1]))
    assert torch.equal(cache.append("site", {"k": whole[1:, :, :1]}, keep=1)["k"][:, :, :1], whole[1:, :, -1:])


def test_forgetting_costs_no_memory_as_a_sequence_grows() -> None:
    cache = Cache()
    for _ in range(1000):
        cache.append("site", {"k": torch.zeros(1, 1, 1, 4)}, keep=8)
    assert cache._layers["site"]["k"].buffer.shape[2] < 40


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_what_is_known_of_some_tokens_only_is_refused(first: bool, second: bool) -> None:
    cache, mask = Cache(), torch.ones(1, 3, dtype=torch.bool)
    cache.extend(3, token_mask=mask if first else None)
    with pytest.raises(ValueError, match=r"A generation tells the same of all its tokens: .*token_mask"):
        cache.extend(3, token_mask=mask if second else None)
    assert cache.length == 3


def test_a_state_replaces_the_one_before_and_follows_its_row() -> None:
    cache = Cache()
    assert cache.state("decoder") is None
    states = [torch.full((B, K), float(step)) + torch.arange(B)[:, None] for step in range(3)]
    for state in states:
        cache.replace("decoder", {"state": state})
    held = cache.state("decoder")
    assert held is not None and torch.equal(held["state"], states[-1])
    assert cache.num_bytes == B * K * 4
    rows = torch.tensor([2, 0, 2, 1])
    for change in (cache.select, cache.reorder):
        before = cache.state("decoder")
        assert before is not None
        expected = before["state"][rows]
        change(rows)
        after = cache.state("decoder")
        assert after is not None and torch.equal(after["state"], expected)
    assert torch.equal(states[-1], torch.arange(B)[:, None] + torch.full((B, K), 2.0))  # what was handed in stays
