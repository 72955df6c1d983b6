"""Which token's state depends on which token."""

import torch
from torch import Tensor

from lightning_tx.testing.baseline import LENGTH, VOCAB_SIZE
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import seeded

#: A difference above this is a dependence, one below ``NONE`` is none at all.
SEEN, NONE = 1e-9, 1e-13
#: States of models without norms may be larger; a softmax then looks at one token alone.
HUGE = 10.0


@holds(
    kin="company",
    tolerance=f"{SEEN:g}",
    in_combinations=True,
    usually="a mask that is off by one, a shift or a mean over time, or a router that looks at the whole row.",
)
def causality(subject: Subject) -> None:
    """In a causal model no state depends on a later token, not even on the next."""
    _no_leak(subject, subject.model)


@holds(
    kin="company",
    tolerance=f"{SEEN:g}",
    in_combinations=True,
    usually="what only training does: batch statistics, or expert capacity that later tokens take from earlier ones.",
)
def causality_in_training(subject: Subject) -> None:
    """In training, without dropout, no state depends on a later token either."""
    _no_leak(subject, subject.copy().train())


@holds(
    kin="company",
    tolerance=f"{NONE:g}",
    in_combinations=True,
    usually="attention that ignores the site's pattern, or hides what the pattern allows.",
)
def sees_what_the_pattern_allows(subject: Subject) -> None:
    """A state depends on exactly the tokens that the pattern lets it see, directly or through other tokens."""
    subject.needs_token_states()
    subject.needs_stacks()
    if subject.passes_on:
        raise NotApplicable("tokens see each other beside the pattern too")
    model = subject.gentle_copy().eval()
    influence, keys, length = _influence(subject, model), _keys(subject), subject.length
    at = torch.arange(length)
    allowed = torch.ones(length, length, dtype=torch.bool)
    permitted = subject.pattern(at[:, None], at[None])
    if permitted is not None:
        allowed &= permitted if subject.is_causal else permitted | permitted.T
    if subject.is_causal:
        allowed &= (at[None] <= at[:, None]) | (at[None] < subject.pattern.prefix)
    if not subject.has_attention:
        allowed = torch.zeros_like(allowed)
    step = (allowed | torch.eye(length, dtype=torch.bool)).double()
    reach = torch.linalg.matrix_power(step, len(subject.last_stack.layers))[:, keys] > 0
    for expected, found, text in ((False, influence > SEEN, "does"), (True, influence < NONE, "does not")):
        wrong = found & (reach == expected)
        if expected and (subject.sizes or subject.states(subject.ids, model=model).abs().max() > HUGE):
            continue  # among many keys, or where states grow without bound, a token may weigh as good as nothing
        if wrong.any():
            query, key = wrong.nonzero()[0].tolist()
            key = int(keys[key])
            word = "may" if expected else "may not"
            raise Violation(f"the state of token {query} {word} depend on token {key}, and {text}.")


@holds(
    groups=("attention", "pattern"),
    usually="a causal mask in a stack that is not causal, or a pattern taken in one direction alone.",
)
def symmetric_in_an_encoder(subject: Subject) -> None:
    """In one layer of an encoder, a token that sees another is seen by it."""
    if subject.is_causal:
        raise NotApplicable("the model is causal")
    seen = _influence(subject, subject.random_model(num_layers=1)) > SEEN
    one_sided = seen & ~seen.T
    if one_sided.any():
        query, key = one_sided.nonzero()[0].tolist()
        raise Violation(f"token {query} sees token {key}, and {key} does not see {query}.")


@holds(
    tolerance=f"{NONE:g}",
    in_combinations=True,
    usually="cross-attention that is skipped, or reads its own states instead of the memory.",
)
def sees_the_source(subject: Subject) -> None:
    """Every one of the first states of the target depends on the source."""
    if not subject.has_source or not subject.has_attention:
        raise NotApplicable("nothing reads a source")
    source = subject.source[:1].repeat(2, 1)
    source[1] = (source[1] + 1) % VOCAB_SIZE
    states = subject.states(subject.ids[:1].expand(2, -1), model=subject.gentle_copy().eval(), source_BS=source)
    moved = torch.atleast_1d((states[0] - states[1]).abs().amax(dim=-1)) / states.abs().max()
    # What a recurrence has heard once fades, as it may.
    deaf = (moved[:32] < NONE).nonzero()[:, 0].tolist()
    if deaf:
        raise Violation(f"the states of the target tokens {deaf} are the same for another source.")


def _no_leak(subject: Subject, model: torch.nn.Module) -> None:
    subject.needs_causal()
    subject.needs_token_states()
    keys = _keys(subject)
    influence = _influence(subject, model)
    leaks = influence > SEEN
    later = torch.arange(subject.length)[:, None] < keys[None]
    leaks &= later & (keys >= subject.pattern.prefix)
    if leaks.any():
        query, at = leaks.nonzero()[0].tolist()
        key = int(keys[at])
        raise Violation(
            f"the state of token {query} moves by {influence[query, at]:.2g} when token {key} changes; "
            f"{int(leaks.sum())} such pairs in {subject.length} tokens."
        )


def _keys(subject: Subject) -> Tensor:
    """Which tokens are changed: all of a short row; of a long one the first, the last and those around 64."""
    length = subject.length
    if length <= LENGTH:
        return torch.arange(length)
    some = {0, 1, length // 3, length // 2, 63, 64, 65, 127, 128, length - 2, length - 1}
    return torch.tensor(sorted(each for each in some if each < length))


def _influence(subject: Subject, model: torch.nn.Module) -> Tensor:
    """[T, keys]: how far the state of a token moves when another one changes, relative to the largest."""
    ids, keys = subject.ids[:1], _keys(subject)
    changed = ids.repeat(len(keys) + 1, 1)
    rows = torch.arange(1, len(keys) + 1)
    changed[rows, keys] = (changed[rows, keys] + 1) % VOCAB_SIZE
    with seeded(0):
        states = subject.states(changed, model=model)
    moved = (states[1:] - states[:1]).abs().amax(dim=-1) / states.abs().max()
    return moved.T.cpu()
