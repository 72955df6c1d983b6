"""A forward pass is a function of its inputs and leaves them as they are."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_tx.testing.baseline import VOCAB_SIZE
from lightning_tx.testing.declared import trains_as_evaluated
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import (
    generator_states,
    random_tokens,
    randomise,
    require_close,
    seeded,
    tensors_of,
)

#: Sums may be taken in another order from one call to the next.
ROUNDING = 1e-11


@holds(
    basic=True,
    usually="a running mean or a count that moves in forward, which gradient checkpointing runs twice; move it in "
    "after_step. A layer made at the first call belongs in the constructor.",
)
def forward_moves_nothing(subject: Subject) -> None:
    """A forward pass moves no parameter and no buffer, in training too, and makes none."""
    for training in (False, True):
        model = subject.copy().train(training)
        before = {name: value.clone() for name, value in tensors_of(model).items()}
        with seeded(0):
            subject.states(subject.ids, model=model)
        after = tensors_of(model)
        mode = "training" if training else "evaluation"
        if set(after) != set(before):
            raise Violation(
                f"a forward pass in {mode} made or removed {', '.join(sorted(set(after) ^ set(before))[:4])}."
            )
        moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
        if moved:
            raise Violation(f"a forward pass in {mode} moved {', '.join(moved[:4])}.")


@holds(
    tolerance="1e-11",
    in_combinations=True,
    basic=True,
    usually="F.dropout without training=self.training, or noise that is not switched off in evaluation.",
)
def no_randomness_in_evaluation(subject: Subject) -> None:
    """In evaluation nothing is drawn, and dropout does nothing."""
    model = subject.random_model(dropout=0.25)
    with seeded(0):
        before = torch.get_rng_state()
        first = subject.states(subject.ids, model=model)
        drew = not torch.equal(before, torch.get_rng_state())
    with seeded(1):
        second = subject.states(subject.ids, model=model)
    require_close(second, first, ROUNDING, "two evaluations of one input")
    require_close(first, subject.states(subject.ids), ROUNDING, "evaluation with dropout 0.25 and with 0")
    if drew:
        raise Violation("evaluation drew from PyTorch's generator.")


@holds(
    in_combinations=True,
    basic=True,
    usually="noise that no option called dropout turns off; name its option in noise_options, so that 0 turns it off, "
    "and draw it with PyTorch.",
)
def no_randomness_in_training_without_dropout(subject: Subject) -> None:
    """In training, with every probability of noise at 0, nothing is random: whoever draws it."""
    model = subject.copy().train()
    passes, moved = [], set()
    for seed in (0, 1):
        with seeded(seed):
            before = generator_states()
            passes.append(subject.states(subject.ids, model=model))
            moved |= {name for name, state in generator_states().items() if not np.array_equal(state, before[name])}
    # Numbers that PyTorch draws and that nothing becomes of are no harm; other generators no checkpoint holds.
    if moved - {"PyTorch", "CUDA"} or (moved and not torch.equal(*passes)):
        raise Violation(f"a training pass without dropout drew from the generator of {', '.join(sorted(moved))}.")
    require_close(passes[1], passes[0], ROUNDING, "two training passes without dropout")


@holds(
    tolerance="1e-11",
    in_combinations=True,
    basic=True,
    usually="something stored on self in forward: a mask or a bias kept by its shape, a counter.",
)
def no_state_between_calls(subject: Subject) -> None:
    """The same input gives the same output, whatever was seen before, and other input of its shape gives its own."""
    ids = random_tokens(*subject.ids.shape, vocab_size=VOCAB_SIZE, seed=5, device=subject.device)
    rows = {}
    if subject.body.packs_documents and all(positions.max_positions is None for positions in subject.positions):
        rows["positions_BT"] = torch.arange(subject.length, device=subject.device)[None] * 3 + 1
    model = subject.random_model()
    first = subject.states(subject.ids, model=model)
    second = subject.states(ids, model=model, **rows)
    require_close(
        second,
        subject.states(ids, model=subject.random_model(), **rows),
        ROUNDING,
        "a call after another one and a first call",
    )
    shorter = ids[:2, : subject.length - 3]
    require_close(
        subject.states(shorter, model=model),
        subject.states(shorter, model=subject.random_model()),
        ROUNDING,
        "a call after longer ones and a first call",
    )
    require_close(subject.states(subject.ids, model=model), first, ROUNDING, "two calls with others between")


@holds(
    tolerance="1e-11",
    basic=True,
    usually="a product of weights that is kept from one call to the next and never dropped.",
)
def weights_are_read_anew(subject: Subject) -> None:
    """When the weights change between two calls, as an optimizer changes them, the second reads the new ones."""
    model = subject.copy()
    for training in (False, True):
        subject.states(subject.ids, model=model.train(training))
    model.eval()
    subject.states(subject.ids, model=model)
    fresh = randomise(subject.build().double(), seed=2).eval()
    randomise(model, seed=2)
    require_close(
        subject.states(subject.ids, model=model),
        subject.states(subject.ids, model=fresh),
        ROUNDING,
        "a model whose weights have changed and a new one of the same weights",
    )


@holds(
    tolerance="1e-9",
    in_combinations=True,
    usually="a term, a statistic or a scale that stands under `if self.training` alone; where that is meant, the "
    "component says trains_as_evaluated = False.",
)
def training_is_evaluation_without_dropout(subject: Subject) -> None:
    """Without dropout a forward pass in training computes what it computes in evaluation."""
    model = subject.copy().train()
    if not trains_as_evaluated(model.modules()):
        raise NotApplicable("it says that training computes something else")
    with seeded(0):
        found = subject.states(subject.ids, model=model)
    require_close(found, subject.states(subject.ids), 1e-9, "states in training without dropout and in evaluation")


@holds(usually="an in-place operation (add_, mul_, masked_fill_, x += …) on what was handed in; write x = x + ….")
def inputs_unchanged(subject: Subject) -> None:
    """Nothing that is handed to a module is changed in place: tokens, masks, states, queries."""
    changed: list[str] = []
    kept: dict[int, list[Tensor]] = {}

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        kept[id(module)] = [each.clone() for each in inputs if isinstance(each, Tensor)]

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = [each for each in inputs if isinstance(each, Tensor)]
        # By value: what is written through .data counts as no change of version.
        if not all(torch.equal(old, new) for old, new in zip(kept[id(module)], tensors, strict=True)):
            changed.append(type(module).__name__)

    model = subject.copy()
    for module in model.modules():
        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
    ids, mask = subject.ids.clone(), torch.ones_like(subject.ids, dtype=torch.bool)
    mask[0, -2:] = False
    given = mask.clone()
    subject.states(ids, model=model, token_mask_BT=mask)
    if not (torch.equal(ids, subject.ids) and torch.equal(mask, given)):
        raise Violation("the token ids or the token mask have changed.")
    for positions in subject.positions:
        dims = subject.model.dims
        q_BHTK = torch.ones(2, dims.num_heads, 3, dims.head_dim, dtype=torch.float64, device=subject.device)
        x_BTD = torch.ones(2, 3, dims.d_model, dtype=torch.float64, device=subject.device)
        at = torch.arange(3, device=subject.device)[None]
        with torch.no_grad():
            positions.rotate(q_BHTK, at)
            positions.embed(x_BTD, at)
        ones = {"rotate": q_BHTK, "embed": x_BTD}
        changed += [f"{type(positions).__name__}.{name}" for name, value in ones.items() if not (value == 1).all()]
    if changed:
        raise Violation(f"{', '.join(dict.fromkeys(changed))} changed a tensor that it was given.")
