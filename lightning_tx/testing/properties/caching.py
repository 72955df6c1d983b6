"""Decoding with a cache computes what the full pass computes."""

import torch

from lightning_tx.core.context import Memory
from lightning_tx.kernels.cache import Cache
from lightning_tx.testing.baseline import BATCH, VOCAB_SIZE
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import random_tokens, require_close

EXACT = 1e-9


@holds(
    kin="company",
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="keys rotated by their place in the chunk instead of in the sequence, or a layer that ignores it.",
)
def cached_token_by_token(subject: Subject) -> None:
    """Token by token with a cache, states are those of the full pass."""
    _cached(subject, subject.last_steps(subject.first_step))


@holds(
    kin="company",
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="a mask of a chunk that forgets what came before it, or hides nothing inside the chunk.",
)
def cached_in_chunks(subject: Subject) -> None:
    """In chunks of several tokens with a cache, states are those of the full pass."""
    _cached(subject, [max(subject.first_step, 5), 6, 11, subject.length])


@holds(
    kin="company",
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="positions that count padding, or a cache that keeps them by column.",
)
def cached_with_padding(subject: Subject) -> None:
    """Rows of several lengths, padded on the left, have with a cache the states of the full pass."""
    subject.needs_generator()
    lengths = torch.tensor([[0], [2], [5]], device=subject.device)
    mask = torch.arange(subject.length, device=subject.device)[None] >= lengths
    full = subject.states(subject.ids, token_mask_BT=mask, **_all_sources(subject))
    first = max(subject.first_step + 5, 6)
    for bounds in ([0, *subject.last_steps(first)], [0, first, subject.length]):
        states = subject.decoded(bounds, token_mask=mask)
        require_close(
            states[mask], full[mask], EXACT, f"the states of padded rows with a cache (steps {bounds}) and without"
        )


@holds(
    kin="company",
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="something kept beside the cache, which then does not follow when rows are selected.",
)
def cached_rows_can_be_chosen(subject: Subject) -> None:
    """Rows of the cache can be selected, repeated and reordered, as beams are, and go on as if they had been alone."""
    subject.needs_generator()
    full = subject.states(subject.ids, **_all_sources(subject))
    start = max(subject.first_step, 5)
    for method, rows in (("select", [2, 2, 1, 0, 1]), ("select", [1]), ("reorder", [2, 0, 1])):
        index = torch.tensor(rows, device=subject.device)
        if method == "reorder" and subject.has_source:
            continue  # rows of different sources may not change places
        cache = Cache()
        subject.decoded([0, start], cache=cache)
        getattr(cache, method)(index)
        memory = _chosen(subject.memory(subject.all_rows), index)
        with torch.no_grad():
            rest = subject.model.advance(subject.ids[index, start:], token_mask_BT=None, cache=cache, memory=memory).x
        require_close(
            rest, full[index, start:], EXACT, f"the states after cache.{method}({rows}) and those of the full pass"
        )


@holds(usually="kv_shape that does not say what the cache is given, or a cache that is given more than that.")
def cache_size(subject: Subject) -> None:
    """A token adds to the cache no more than the keys and values of every attention's kv_shape."""
    subject.needs_generator()
    subject.needs_stacks()
    stack = [
        sublayer.kv_shape
        for name, sublayer in subject.last_stack.sublayers.items()
        if sublayer.kv_shape is not None and name.endswith("self_attention")
    ]
    if not stack:
        raise NotApplicable("nothing is kept")
    declared = sum(shape.num_heads * (shape.key_width + shape.value_width) for shape in stack) * BATCH * 8
    cache = Cache()
    start = max(subject.first_step, 5)
    subject.decoded([0, start], cache=cache)
    before = cache.num_bytes
    memory = subject.memory(subject.all_rows)
    with torch.no_grad():
        subject.model.advance(subject.ids[:, start:], token_mask_BT=None, cache=cache, memory=memory)
    grown = (cache.num_bytes - before) / (subject.length - start)
    if grown > declared:
        raise Violation(f"a token adds {grown:g} bytes to the cache; kv_shape accounts for {declared}.")


@holds(
    groups=("pattern",),
    usually="keys that no later query can see and that the cache keeps.",
)
def cache_keeps_the_window_alone(subject: Subject) -> None:
    """Where a pattern sees a bounded past, the cache holds a bounded number of tokens."""
    subject.needs_generator()
    subject.needs_documents()
    at = torch.arange(64)
    permitted = subject.pattern(at[:, None], at[None])
    if permitted is None or subject.positions[0].max_positions is not None:
        raise NotApplicable("the pattern reaches back to the start")
    oldest = ((permitted & (at[None] <= at[:, None])).int().argmax(dim=1) - at).abs().max().item() + 1
    if oldest > 16 or subject.pattern.prefix:
        raise NotApplicable("the pattern reaches back to the start")
    ids = random_tokens(1, 64, vocab_size=VOCAB_SIZE, seed=0, device=subject.device)
    cache, sizes = Cache(), []
    with torch.no_grad():
        for start in range(64):
            subject.model.advance(ids[:, start : start + 1], token_mask_BT=None, cache=cache, memory=None)
            sizes.append(cache.num_bytes)
    if sizes[63] > 1.5 * max(sizes[: 2 * int(oldest)]):
        raise Violation(
            f"after 64 tokens the cache holds {sizes[63]} bytes, after {2 * int(oldest)} it held "
            f"{max(sizes[: 2 * int(oldest)])}; no query looks back further than {oldest} tokens."
        )


def _cached(subject: Subject, bounds: list[int]) -> None:
    subject.needs_generator()
    full = subject.states(subject.ids, **_all_sources(subject))
    states = subject.decoded([0, *bounds])
    require_close(states, full, EXACT, f"the states with a cache (steps {[0, *bounds]}) and without")


def _all_sources(subject: Subject) -> dict[str, torch.Tensor]:
    return {"source_BS": subject.source} if subject.has_source else {}


def _chosen(memory: Memory | None, rows: torch.Tensor) -> Memory | None:
    return None if memory is None else Memory(memory.x_BSD[rows])
