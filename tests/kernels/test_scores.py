"""Changed scores and sinks, with their gradients, against the dense formula differentiated by autograd."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.components.pattern.local import Local
from lightning_tx.kernels import scored_attention
from lightning_tx.kernels.attend import attend
from lightning_tx.kernels.masks import Mask
from lightning_tx.kernels.scores import Scores, capped
from lightning_tx.testing.largest import Largest

B, H, K = 2, 4, 6
CHANGES = {
    "soft cap": lambda scores, mix: 2 * (scores / 2).tanh(),
    "mixed heads": lambda scores, mix: torch.einsum("hg,...gts->...hts", mix, scores),
    "no change": lambda scores, mix: scores,
}
MASKS: dict[str, dict[str, Any]] = {
    "causal": {"in_order": True},
    "bidirectional": {"causal": False},
    "padding": {"k_token_mask": torch.arange(70)[None] >= torch.tensor([[0], [9]])},
    "documents": {name: torch.arange(70)[None] // 30 for name in ("q_documents", "k_documents")},
    "pattern": {"in_order": True, "pattern": Local(window=5)},
    "pattern of an encoder": {"causal": False, "in_order": True, "pattern": Local(window=5)},
}


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored_attention, "_BLOCK", {"cpu": 4 * 20 * 70})
    monkeypatch.setattr(scored_attention, "_FEWEST_QUERIES", 3)
    monkeypatch.setattr("lightning_tx.kernels.sparse_attention.WORTH_SPLITTING", (64, 1))


def scores_of(change: str, mix: Tensor, sinks: Tensor | None) -> Scores:
    if change == "soft cap":
        return Scores(lambda scores: capped(scores, 2.0), sinks=sinks)
    return Scores(CHANGES[change], (mix,), sinks) if change == "mixed heads" else Scores(sinks=sinks)


def leaves(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, shape in shapes.items()
    }


def naive(x: dict[str, Tensor], change: str, mask: Mask, bias: Any, sinks: bool, prefix: bool) -> Tensor:
    """All pairs, an explicit softmax with the sink as one more key of value zero."""
    k, v = x["k"], x["v"]
    added = torch.zeros(()) if bias is None else bias(mask.q_positions[:, :, None], mask.k_positions[:, None])
    allowed = mask.dense()
    if prefix:
        k, v = (torch.cat([x[f"before_{name}"].expand(B, -1, -1, -1), x[name]], dim=2) for name in ("k", "v"))
        allowed = F.pad(allowed, (3, 0), value=True)
        added = F.pad(added, (3, 0)) if added.ndim else added
    k, v = (each.repeat_interleave(H // each.shape[1], dim=1) for each in (k, v))
    scores = CHANGES[change](x["q"] @ k.mT / K**0.5, x["mix"]) + added
    scores = scores.masked_fill(~allowed, -1e30)
    if sinks:
        scores = torch.cat([scores, x["sinks"][:, None, None].expand_as(scores[..., :1])], dim=-1)
    return scores.softmax(dim=-1)[..., : k.shape[2]] * allowed.any(dim=-1, keepdim=True) @ v


@pytest.mark.parametrize("learns", [None, False, True], ids=["no bias", "bias", "bias that learns"])
@pytest.mark.parametrize("prefix", [False, True], ids=["", "prefix"])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(
    ("change", "sinks"),
    [("soft cap", False), ("soft cap", True), ("mixed heads", False), ("mixed heads", True), ("no change", True)],
)
def test_output_and_gradients_are_those_of_the_formula(
    change: str, sinks: bool, name: str, prefix: bool, learns: bool | None
) -> None:
    at = torch.arange(70)[None]
    known = {"q_positions": at, "k_positions": at, "causal": True} | MASKS[name]
    mask = Mask(**{key: value for key, value in known.items() if key != "pattern"}).within(known.get("pattern"))
    x = leaves(
        q=(B, H, 70, K),
        k=(B, 2, 70, K),
        v=(B, 1, 70, K + 2),
        before_k=(1, 2, 3, K),
        before_v=(1, 1, 3, K + 2),
        mix=(H, H),
        sinks=(H,),
        slopes=(2,),
    )
    slopes = x["slopes"] if learns else x["slopes"].detach()

    def bias(q: Tensor, k: Tensor) -> Tensor:
        # Of two heads, each for two of the four.
        return -slopes[:, None, None] * (q - k).abs()[..., None, :, :] / 10

    def bias_of_all(q: Tensor, k: Tensor) -> Tensor:
        return bias(q, k).repeat_interleave(2, dim=-3)

    scores = scores_of(change, x["mix"], x["sinks"] if sinks else None)
    before = (x["before_k"], x["before_v"]) if prefix else None
    biased = None if learns is None else bias
    found = attend(x["q"], x["k"], x["v"], mask, bias=biased, prefix=before, scores=scores)
    expected = naive(x, change, mask, None if learns is None else bias_of_all, sinks, prefix)
    real = mask.k_token_mask[:, None, :, None] if mask.k_token_mask is not None else torch.ones(1)
    torch.testing.assert_close(found * real, expected * real, rtol=0, atol=1e-12)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * real
    options = {"allow_unused": True, "materialize_grads": True}
    ours = torch.autograd.grad((found * weights).sum(), list(x.values()), **options)
    theirs = torch.autograd.grad((expected * weights).sum(), list(x.values()), **options)
    for leaf, own, their in zip(x, ours, theirs, strict=True):
        torch.testing.assert_close(own, their, rtol=0, atol=1e-11, msg=lambda text, leaf=leaf: f"{leaf}: {text}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cap", [5.0, 50.0])
def test_a_cap_is_that_of_tanh(cap: float, dtype: torch.dtype) -> None:
    x = torch.cat([torch.linspace(-200, 200, 4001), torch.tensor([0.0, 1e-6, 1e4, -1e4])]).to(dtype).requires_grad_()
    wide = x.detach().double().requires_grad_()
    found, expected = capped(x, cap), cap * (wide / cap).tanh()
    error = 2 * cap * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=error)
    (ours,), (theirs,) = torch.autograd.grad(found.sum(), x), torch.autograd.grad(expected.sum(), wide)
    torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("scores", [Scores(lambda s: capped(s, 2.0)), Scores(sinks=torch.zeros(H).double())])
def test_dropout_leaves_the_mean(scores: Scores) -> None:
    at = torch.arange(8)[None]
    mask = Mask(q_positions=at, k_positions=at, causal=True, in_order=True)
    q, k, v = (x.detach() for x in leaves(q=(1, H, 8, K), k=(1, H, 8, K), v=(1, H, 8, K)).values())
    torch.manual_seed(0)
    drawn = torch.stack([attend(q, k, v, mask, dropout=0.5, scores=scores) for _ in range(400)])
    error = (drawn.mean(dim=0) - attend(q, k, v, mask, scores=scores)) / (drawn.std(dim=0) / 20)
    assert error.abs().max() < 5


@pytest.mark.parametrize("scores", [None, Scores(lambda s: capped(s, 2.0)), Scores(sinks=torch.zeros(H).double())])
@pytest.mark.parametrize(("groups", "values"), [(1, 2), (2, 1), (4, 2)])
@pytest.mark.parametrize("queries", [1, 5])
def test_values_may_have_another_number_of_heads(queries: int, groups: int, values: int, scores: Scores | None) -> None:
    at = torch.arange(5)[None]
    mask = Mask(q_positions=at[:, -queries:], k_positions=at, causal=True, in_order=True)
    x = leaves(q=(B, H, queries, K), k=(B, groups, 5, K), v=(B, values, 5, K))
    repeated = [x[name].repeat_interleave(H // x[name].shape[1], dim=1) for name in ("k", "v")]
    expected = attend(x["q"], *repeated, mask, scores=scores)
    torch.testing.assert_close(attend(x["q"], x["k"], x["v"], mask, scores=scores), expected, rtol=0, atol=1e-12)


def test_half_precision_sums_in_float32() -> None:
    at = torch.arange(70)[None]
    mask = Mask(q_positions=at, k_positions=at, causal=True, in_order=True)
    shapes = {"q": (B, H, 70, K), "k": (B, 2, 70, K), "v": (B, 2, 70, K), "mix": (H, H), "sinks": (H,)}
    exact = {name: x.detach().bfloat16().double().requires_grad_() for name, x in leaves(**shapes).items()}
    x = {name: each.detach().bfloat16().requires_grad_() for name, each in exact.items()}
    expected = naive(exact, "mixed heads", mask, None, True, False)
    scores = scores_of("mixed heads", x["mix"].float(), x["sinks"].float())
    options = {"is_causal": True, "dropout": 0.0, "scale": K**-0.5}
    found = scored_attention.scored_attention(x["q"], x["k"], x["v"], None, scores, **options)
    assert found.dtype == torch.bfloat16
    theirs = torch.autograd.grad(expected.sum(), list(exact.values()))
    ours = torch.autograd.grad(found.sum(), list(x.values()))
    for name, own, their in zip(["out", *x], [found, *ours], [expected, *theirs], strict=True):
        error = (own.double() - their).square().mean().sqrt() / their.square().mean().sqrt()
        assert error < 0.02, name


@pytest.mark.parametrize("sinks", [None, torch.zeros(H, requires_grad=True)], ids=["cap", "cap and sinks"])
def test_no_scores_of_all_pairs_are_made(sinks: Tensor | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    length = 2048
    at = torch.arange(length)[None]
    mask = Mask(q_positions=at, k_positions=at, causal=True, in_order=True)
    q, k, v = (torch.randn(1, H, length, 8, requires_grad=True) for _ in range(3))
    with Largest() as largest:
        attend(q, k, v, mask, scores=Scores(lambda s: capped(s, 2.0), sinks=sinks)).sum().backward()
    assert largest.numel <= H * length * length // 32


def test_a_bias_of_both_positions_is_evaluated_for_each_block() -> None:
    """Against the dense formula; as if it were relative, it would be wrong."""
    length = 2048
    at = torch.arange(length)[None]
    mask = Mask(q_positions=at, k_positions=at, causal=True, in_order=True).within(Local(window=100))
    x = leaves(q=(1, H, length, K), k=(1, H, length, K), v=(1, H, length, K), slope=(1,))

    def bias(q: Tensor, k: Tensor) -> Tensor:
        return (x["slope"] * (q - k) / (q + 1) * (q % 7))[..., None, :, :]

    scores = (x["q"] @ x["k"].mT / K**0.5 + bias(at[:, :, None], at[:, None])).masked_fill(~mask.dense(), -1e30)
    expected = scores.softmax(dim=-1) @ x["v"]
    theirs = torch.autograd.grad(expected.sin().sum(), list(x.values()))
    found = attend(x["q"], x["k"], x["v"], mask, bias=bias, bias_is_relative=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    for own, their in zip(torch.autograd.grad(found.sin().sum(), list(x.values())), theirs, strict=True):
        torch.testing.assert_close(own, their, rtol=0, atol=1e-10)
    wrong = attend(x["q"], x["k"], x["v"], mask, bias=bias)
    assert (wrong - expected).abs().max() > 0.1
