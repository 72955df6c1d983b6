"""What positions tell."""

import torch

from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import gap, require_close

FELT, EXACT = 1e-6, 1e-9


@holds(
    tolerance=f"{FELT:g}",
    in_combinations=True,
    usually="positions whose hooks return their input, or attention that does not call rotate or the bias.",
)
def positions_matter(subject: Subject) -> None:
    """The same tokens further apart have other states, unless the positions say that they do not tell order."""
    subject.needs_documents()
    subject.needs_stacks()
    if not subject.has_attention or not subject.is_full:
        raise NotApplicable("tokens do not all see each other")
    ids = subject.ids[:, :8]
    near = torch.arange(8, device=subject.device)[None]
    moved = gap(subject.states(ids, positions_BT=2 * near), subject.states(ids, positions_BT=near))
    if subject.tells_order and not moved > FELT:
        raise Violation(f"with positions 0, 2, 4, … the states differ by {moved:.2g} from those with 0, 1, 2, ….")
    if not subject.tells_order and moved > EXACT:
        raise Violation(f"positions that tell no order move the states by {moved:.2g}.")


@holds(
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="positions that do nothing in an encoder, or, without positions, a layer that mixes neighbours.",
)
def order_shows_by_positions_alone(subject: Subject) -> None:
    """In an encoder whose tokens all see each other, a permutation shows if and only if positions tell."""
    subject.needs_token_states()
    subject.needs_stacks()
    if subject.is_causal or not subject.has_attention or not subject.is_full:
        raise NotApplicable("tokens do not all see each other")
    order = torch.randperm(subject.ids.shape[1], generator=torch.Generator().manual_seed(0)).to(subject.device)
    found, expected = subject.states(subject.ids[:, order]), subject.states(subject.ids)[:, order]
    if not subject.tells_order:
        require_close(found, expected, EXACT, "the states of permuted tokens and the permuted states")
    elif gap(found, expected) < FELT:
        raise Violation(
            f"permuted tokens have permuted states, to within {gap(found, expected):.2g}: order is not told."
        )


@holds(
    groups=("positions",),
    usually="a bias that depends on the lengths of what it is asked for, or on calls before.",
)
def bias_is_elementwise(subject: Subject) -> None:
    """An entry of the bias depends on its two positions alone: blocks are pieces of the whole, [..., H, t, s]."""
    at = torch.arange(12, device=subject.device)
    for positions in subject.positions:
        with torch.no_grad():
            whole = positions.bias(at[None, :, None], at[None, None, :])
            block = positions.bias(at[None, 3:5, None], at[None, None, 2:9])
        if whole is None or block is None:
            raise NotApplicable("there is no bias")
        heads = subject.model.dims.num_heads
        if whole.shape[-3:] != (heads, 12, 12):
            raise Violation(f"the bias of 12 queries and 12 keys has shape {list(whole.shape)}, not [..., H, 12, 12].")
        require_close(block, whole[..., 3:5, 2:9], EXACT, "a block of the bias and that piece of the whole")
