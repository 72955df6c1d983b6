"""A forward pass is a function of its inputs and leaves them as they are."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_tx.model.build import build_model
from lightning_tx.testing.baseline import LENGTH, VOCAB_SIZE, with_dropout
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import random_tokens, randomise, require_close, seeded

#: Sums may be taken in another order from one call to the next.
ROUNDING = 1e-11


@holds(
    tolerance="1e-11",
    in_combinations=True,
    usually="something stored on self in forward: a running mean, a cached mask, a counter.",
)
def no_state_between_calls(subject: Subject) -> None:
    """The same input gives the same output, whatever was seen before."""
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    first = subject.states(subject.ids)
    subject.states(random_tokens(2, LENGTH - 3, vocab_size=VOCAB_SIZE, seed=5, device=subject.device))
    second = subject.states(subject.ids)
    require_close(second, first, ROUNDING, "two calls with another one between")
    moved = [name for name, value in subject.model.state_dict().items() if not torch.equal(value, before[name])]
    if moved:
        raise Violation(f"{', '.join(moved)} moved in evaluation.")


@holds(
    tolerance="1e-11",
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


@holds(usually="an option called dropout that is stored and not used.", groups=("attention", "feed_forward", "adapter"))
def dropout_in_training(subject: Subject) -> None:
    """In training its own dropout drops."""
    config = subject.config()
    dropping = with_dropout(config[subject.group], subject.group, 0.5)
    if dropping == config[subject.group]:
        raise NotApplicable("it has no dropout of its own")
    model = build_model({**config, subject.group: dropping}, vocab_size=VOCAB_SIZE, device=subject.device)
    model = randomise(model.double()).train()
    with seeded(0):
        first = subject.states(subject.ids, model=model)
        second = subject.states(subject.ids, model=model)
    if torch.equal(first, second):
        raise Violation("with a probability of 0.5 two training passes give the same.")


@holds(usually="an in-place operation (add_, mul_, masked_fill_, x += …) on what was handed in; write x = x + ….")
def inputs_unchanged(subject: Subject) -> None:
    """Nothing that is handed to a module is changed in place: tokens, masks, states, queries."""
    changed: list[str] = []
    versions: dict[int, list[int]] = {}

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        versions[id(module)] = [each._version for each in inputs if isinstance(each, Tensor)]

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if versions[id(module)] != [each._version for each in inputs if isinstance(each, Tensor)]:
            changed.append(type(module).__name__)

    model = subject.copy()
    for module in model.modules():
        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
    ids, mask = subject.ids.clone(), torch.ones_like(subject.ids, dtype=torch.bool)
    mask[0, -2:] = False
    kept = mask.clone()
    subject.states(ids, model=model, token_mask_BT=mask)
    if not (torch.equal(ids, subject.ids) and torch.equal(mask, kept)):
        raise Violation("the token ids or the token mask have changed.")
    for positions in subject.positions:
        dims = subject.model.dims
        q_BHTK = torch.ones(2, dims.num_heads, 3, dims.head_dim, dtype=torch.float64, device=subject.device)
        x_BTD = torch.ones(2, 3, dims.d_model, dtype=torch.float64, device=subject.device)
        at = torch.arange(3, device=subject.device)[None]
        given = {"rotate": q_BHTK, "embed": x_BTD}
        with torch.no_grad():
            positions.rotate(q_BHTK, at)
            positions.embed(x_BTD, at)
        changed += [f"{type(positions).__name__}.{name}" for name, value in given.items() if value._version]
    if changed:
        raise Violation(f"{', '.join(sorted(set(changed)))} changed a tensor that it was given.")
