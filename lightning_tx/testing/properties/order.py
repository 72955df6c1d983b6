"""What positions tell."""

import copy

import torch

from lightning_tx.testing.declared import relative
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import gap, require_close

FELT, EXACT = 1e-6, 1e-9
#: A position of five digits leaves so many to an angle in float64; a bias may be taken in float32.
DIGITS = 1e-6
#: How many positions are told apart where they go on for ever, and those that are looked at first.
FAR, NEAR = 20_000, range(8)


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
    if subject.feels_positions and not moved > FELT:
        raise Violation(f"with positions 0, 2, 4, … the states differ by {moved:.2g} from those with 0, 1, 2, ….")
    if not subject.feels_positions and moved > EXACT:
        raise Violation(f"positions that tell no order move the states by {moved:.2g}.")


@holds(
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="positions that do nothing in an encoder, or, without positions, a layer that mixes neighbours.",
)
def order_shows_by_positions_alone(subject: Subject) -> None:
    """In an encoder whose tokens all see each other, a permutation shows if and only if positions or a part tell."""
    subject.needs_token_states()
    subject.needs_stacks()
    if subject.is_causal or not subject.has_attention or not subject.is_full:
        raise NotApplicable("tokens do not all see each other")
    order = torch.randperm(subject.ids.shape[1], generator=torch.Generator().manual_seed(0)).to(subject.device)
    found, expected = subject.states(subject.ids[:, order]), subject.states(subject.ids)[:, order]
    if not subject.feels_positions and not subject.shows_order:
        require_close(found, expected, EXACT, "the states of permuted tokens and the permuted states")
    elif gap(found, expected) < FELT:
        raise Violation(
            f"permuted tokens have permuted states, to within {gap(found, expected):.2g}: order is not told."
        )


@holds(
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="queries and keys turned in different ways, values turned and not turned back, a table that ends or wraps, "
    "or a position that is used as such; positions that are absolute say relative = False.",
)
def shift_moves_nothing(subject: Subject) -> None:
    """Relative positions are felt by their differences alone: a shift of all moves no state, near and far from 0."""
    subject.needs_documents()
    subject.needs_stacks()
    if not subject.has_attention or not subject.is_full:
        raise NotApplicable("tokens do not all see each other")
    if not relative(subject.model.modules()):
        raise NotApplicable("it says that positions are felt as such")
    ids = subject.ids[:, :12]
    near = torch.arange(ids.shape[1], device=subject.device)[None]
    for name, at in (("near each other", near), ("far from each other", near * 97)):
        plain = subject.states(ids, positions_BT=at)
        for shift in (100, 977, 20_000):
            found = subject.states(ids, positions_BT=at + shift)
            # A distance of two large positions has fewer digits than that of small ones.
            what = f"the states of tokens {name} with all positions shifted by {shift} and without"
            require_close(found, plain, DIGITS, what)


@holds(
    groups=("positions",),
    usually="a table that ends: positions clamped to its last row, or taken modulo its length, where max_positions "
    "should say how many there are.",
)
def far_positions_are_told_apart(subject: Subject) -> None:
    """No two positions are embedded or turned alike, up to the last one that there is."""
    dims = subject.model.dims
    for positions in subject.positions:
        last = FAR if positions.max_positions is None else positions.max_positions
        at = torch.arange(last, device=subject.device)[None]
        x_BTD = torch.ones(1, last, dims.d_model, dtype=torch.float64, device=subject.device)
        x_BHTK = torch.ones(1, dims.num_heads, last, dims.head_dim, dtype=torch.float64, device=subject.device)
        with torch.no_grad():
            told = {"embedded": positions.embed(x_BTD, at)[0], "turned": positions.rotate(x_BHTK, at)[0, 0]}
        for word, values in told.items():
            if len(values[: len(NEAR)].unique(dim=0)) < min(len(NEAR), last):
                continue  # they are not what tells positions apart, be they near or far
            seen, first = values.round(decimals=9).unique(dim=0, return_inverse=True)
            if len(seen) < last:
                order = first.argsort(stable=True)
                pairs = (first[order][1:] == first[order][:-1]).nonzero()[:, 0]
                pair = pairs[order[pairs + 1].argmin()]
                one, other = order[pair].item(), order[pair + 1].item()
                raise Violation(f"positions {one} and {other} are {word} alike.")


@holds(
    tolerance=f"{EXACT:g}",
    groups=("positions",),
    usually="angles of arange over the length, counted from the first position of the row.",
)
def rotation_is_elementwise(subject: Subject) -> None:
    """A query or key is turned by its own position alone, in whatever order and company the positions come."""
    dims = subject.model.dims
    at = torch.tensor([[3, 4, 9, 0, 17]], device=subject.device)
    x_BHTK = torch.linspace(-1, 1, 5 * dims.num_heads * dims.head_dim, dtype=torch.float64, device=subject.device)
    x_BHTK = x_BHTK.view(1, dims.num_heads, 5, dims.head_dim)
    for positions in subject.positions:
        if positions.max_positions is not None:
            at = at.clamp(max=positions.max_positions - 1)
        with torch.no_grad():
            whole = positions.rotate(x_BHTK, at)
            if torch.equal(whole, x_BHTK):
                raise NotApplicable("it turns nothing")
            for token in range(at.shape[1]):
                one = slice(token, token + 1)
                own = positions.rotate(x_BHTK[:, :, one], at[:, one])
                what = f"position {at[0, token].item()} turned alone and beside others"
                require_close(own, whole[:, :, one], EXACT, what)


@holds(
    groups=("positions",),
    usually="a bias that depends on the lengths of what it is asked for, or on calls before.",
)
def bias_is_elementwise(subject: Subject) -> None:
    """An entry of the bias depends on its two positions alone: blocks are pieces of the whole, [..., H, t, s]."""
    at = torch.arange(12, device=subject.device)
    for positions in subject.positions:
        with torch.no_grad():
            # Asked for other positions of the same number before, which must not matter.
            asked = copy.deepcopy(positions)
            asked.bias(at[None, :, None] + 5, at[None, None, :])
            whole = asked.bias(at[None, :, None], at[None, None, :])
            block = positions.bias(at[None, 3:5, None], at[None, None, 2:9])
        if whole is None or block is None:
            raise NotApplicable("there is no bias")
        heads = subject.model.dims.num_heads
        if whole.shape[-3:] != (heads, 12, 12):
            raise Violation(f"the bias of 12 queries and 12 keys has shape {list(whole.shape)}, not [..., H, 12, 12].")
        require_close(block, whole[..., 3:5, 2:9], EXACT, "a block of the bias and that piece of the whole")


@holds(
    tolerance=f"{EXACT:g}",
    groups=("positions",),
    usually="a bias that looks at positions and not only at their difference: declare bias_is_relative = False.",
)
def relative_bias_ignores_shifts(subject: Subject) -> None:
    """A bias said to be relative is the same for positions that are all shifted, however far."""
    at = torch.arange(12, device=subject.device)
    for positions in subject.positions:
        if not positions.bias_is_relative:
            raise NotApplicable("the bias depends on more than the difference of positions")
        for shift in (100, 5000):
            with torch.no_grad():
                near = positions.bias(at[None, :, None], at[None, None, :])
                far = positions.bias(shift + at[None, :, None], shift + at[None, None, :])
            if near is None or far is None:
                raise NotApplicable("there is no bias")
            require_close(far, near, EXACT, f"the bias {shift} positions further on and the bias")
