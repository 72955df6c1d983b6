"""Who may look at whom, and what it costs."""

from typing import Any

import torch
from torch import Tensor

from lightning_tx.components.pattern.base import PATTERN, Pattern
from lightning_tx.kernels.attend import attend
from lightning_tx.kernels.masks import Mask
from lightning_tx.testing.baseline import shrunk
from lightning_tx.testing.component import Component
from lightning_tx.testing.largest import Largest
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.values import require_close

EXACT = 1e-9
#: Long enough for sparse kernels to be chosen, and no multiple of any window or stride.
LONG = 4001
#: Queries near and far, past the powers of two at which tables and blocks tend to end.
FAR_QUERIES = torch.tensor([300, 511, 513, 1000, 1024, 1500, 2050, 4097, 8193, 9000, 12_345, 16_385, 20_000])
#: The largest share of the keys of a row that a part is worth having for.
CHEAP, CHEAP_LENGTH = 0.2, 16_384
OF_PATTERNS = {"about": "component", "groups": ("pattern",)}


@holds(usually="<= where < is meant, or a distance that is never 0.", **OF_PATTERNS)  # type: ignore[arg-type]
def a_query_sees_itself(subject: Component) -> None:
    """Every query may look at its own key, and so at something."""
    for allowed in _both_sizes(subject):
        blind = (~allowed.diagonal()).nonzero()[:, 0].tolist()
        if blind:
            nothing = (~allowed.any(dim=1)).nonzero()[:, 0].tolist()
            raise Violation(f"queries {blind[:5]} do not see themselves; {nothing[:5]} see nothing.")


@holds(usually="a part that is wider than the pattern, or a piece of it that no part has, near or far.", **OF_PATTERNS)  # type: ignore[arg-type]
def parts_are_the_pattern(subject: Component) -> None:
    """The parts of a pattern allow together what it allows, and nothing lies beyond its reach, at any distance."""
    for small in (True, False):
        pattern = _pattern(subject, small=small)
        near = torch.arange(300)
        if pattern(near[:, None], near[None]) is None:
            raise NotApplicable("everything is allowed")
        for q, k in ((near, near), (FAR_QUERIES, torch.arange(int(FAR_QUERIES.max()) + 1))):
            _compare_parts(pattern, q, k)


@holds(usually="a part that holds all keys, or half of them, which costs what no part at all does.", **OF_PATTERNS)  # type: ignore[arg-type]
def parts_are_cheap(subject: Component) -> None:
    """A query looks at a small share of the keys of a long row through the parts of a pattern."""
    pattern = _pattern(subject, small=False)
    if not pattern.parts():
        raise NotApplicable("the pattern claims no parts")
    at = torch.arange(CHEAP_LENGTH)
    for part in pattern.parts():
        share = part.allows(at[-64:, None], at[None]).double().mean().item()
        if share > CHEAP:
            raise Violation(
                f"the part {type(part).__name__} has {share:.0%} of {CHEAP_LENGTH} keys for a query "
                f"(at most {CHEAP:.0%})."
            )


@holds(usually="arange over the length instead of the positions that were given.", **OF_PATTERNS)  # type: ignore[arg-type]
def pattern_is_elementwise(subject: Component) -> None:
    """An entry depends on its two positions alone: blocks are pieces of the whole, dtype is bool, rows may differ."""
    pattern = _pattern(subject, small=True)
    at = torch.arange(24)
    whole = pattern(at[:, None], at[None])
    if whole is None:
        raise NotApplicable("everything is allowed")
    if whole.dtype != torch.bool:
        raise Violation(f"it returns {whole.dtype}, not torch.bool.")
    block = pattern(at[5:9, None], at[None, 3:20])
    if block is None or not torch.equal(block, whole[5:9, 3:20]):
        raise Violation("a block of it differs from that piece of the whole.")
    rows = torch.stack([at[:8], at[4:12]])
    batch = pattern(rows[:, :, None], rows[:, None, :])
    if batch is None or not torch.equal(batch[1], whole[4:12, 4:12]):
        raise Violation("rows at positions of their own are not told apart.")


@holds(
    tolerance=f"{EXACT:g}",
    dear=True,
    usually="parts that leave out or count twice what __call__ allows, most often at borders of blocks.",
    **OF_PATTERNS,  # type: ignore[arg-type]
)
def sparse_is_dense(subject: Component) -> None:
    """On long sequences attention and its gradients are those of the dense softmax over the elementwise truth."""
    pattern = _pattern(subject, small=False)
    at = torch.arange(LONG)
    if pattern(at[:1, None], at[None, :1]) is None and not pattern.prefix:
        raise NotApplicable("everything is allowed")
    for causal, bias in ((True, None), (True, _distance), (False, None)):
        _compare(pattern, causal, bias)


@holds(dear=True, usually="a mask or scores of all queries and all keys, in forward or backward.", **OF_PATTERNS)  # type: ignore[arg-type]
def sparse_takes_no_dense_memory(subject: Component) -> None:
    """Where a pattern has parts, no tensor of attention grows with the square of the length."""
    pattern = _pattern(subject, small=False)
    if type(pattern).parts is Pattern.parts:
        raise NotApplicable("the pattern claims no parts")
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, LONG, 8, generator=generator).requires_grad_() for _ in range(3))
    with Largest() as largest:
        attend(q, k, v, _mask(pattern, causal=True)).sum().backward()
    if largest.numel > LONG * LONG // 4:
        raise Violation(
            f"{largest.name} made a tensor of shape {largest.shape} for {LONG} tokens, "
            f"a {largest.numel / LONG**2:.0%} of all pairs."
        )


def _compare_parts(pattern: Pattern, q: Tensor, k: Tensor) -> None:
    allowed = pattern(q[:, None], k[None])
    assert allowed is not None
    union = torch.zeros_like(allowed)
    for part in pattern.parts():
        union |= part.allows(q[:, None], k[None])
    if pattern.parts() and not torch.equal(union, allowed):
        row, column = (union != allowed).nonzero()[0].tolist()
        says = bool(allowed[row, column])
        raise Violation(f"query {q[row]} and key {k[column]}: the pattern says {says}, its parts do not.")
    if pattern.reach is not None:
        far = (q[:, None] - k[None]).abs()[allowed].max().item()
        if far >= pattern.reach:
            raise Violation(f"reach is {pattern.reach}, and a query looks at a key {far} positions away.")


def _compare(pattern: Pattern, causal: bool, bias: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, LONG, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3))
    # Every distance from the start and from the end, and some in between.
    rows = torch.cat([torch.arange(40), torch.randperm(LONG, generator=generator)[:80], torch.arange(LONG - 10, LONG)])
    at = torch.arange(LONG)
    found = attend(q, k, v, _mask(pattern, causal), bias=bias)[:, :, rows]
    permitted, back = pattern(rows[:, None], at[None]), pattern(at[None], rows[:, None])
    if permitted is not None and back is not None and not causal:
        permitted = permitted | back
    allowed = torch.ones(len(rows), LONG, dtype=torch.bool) if permitted is None else permitted
    if causal:
        allowed = allowed & (
            (at[None] <= rows[:, None]) | ((at[None] < pattern.prefix) & (rows[:, None] < pattern.prefix))
        )
    scores = q[:, :, rows] @ k.mT / 2
    scores = scores if bias is None else scores + bias(rows[None, :, None], at[None, None, :])
    expected = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1) @ v
    what = f"{'causal' if causal else 'bidirectional'} attention{' with a bias' if bias else ''}"
    require_close(found, expected, EXACT, f"{what} and the dense softmax")
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    pairs = zip(
        ("q", "k", "v"),
        torch.autograd.grad((found * weights).sum(), (q, k, v)),
        torch.autograd.grad((expected * weights).sum(), (q, k, v)),
        strict=True,
    )
    for name, own, dense in pairs:
        require_close(own, dense, EXACT, f"the gradient of {name} in {what} and in the dense softmax")


def _distance(q_positions: Tensor, k_positions: Tensor) -> Tensor:
    """A bias of one head, as ALiBi has."""
    return (-0.01 * (q_positions - k_positions).abs().double())[..., None, :, :]


def _mask(pattern: Pattern, causal: bool) -> Mask:
    at = torch.arange(LONG)[None]
    return Mask(q_positions=at, k_positions=at, causal=causal, in_order=True).within(pattern)


def _pattern(subject: Component, *, small: bool) -> Pattern:
    return PATTERN.create(shrunk(subject.config) if small else subject.config)


def _both_sizes(subject: Component) -> list[Tensor]:
    at = torch.arange(300)
    found = [_pattern(subject, small=small)(at[:, None], at[None]) for small in (True, False)]
    if found[0] is None:
        raise NotApplicable("everything is allowed")
    return [allowed for allowed in found if allowed is not None]
