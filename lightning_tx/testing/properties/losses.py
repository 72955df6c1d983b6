"""Auxiliary losses and stats."""

from collections import Counter

import torch
from torch import Tensor

from lightning_tx.core.context import Output
from lightning_tx.testing.properties.gradients import auxiliary_gradients
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import gap, seeded

EXACT = 1e-9


@holds(
    in_combinations=True,
    usually="a loss computed from what was chosen (an index has no gradient) instead of from the probabilities.",
)
def auxiliary_losses_teach(subject: Subject) -> None:
    """Every auxiliary loss is finite and has a gradient; no stat does."""
    model = subject.gentle_copy()
    with seeded(0):
        output = subject.run(subject.ids, model=model)
    _needs_any(output)
    if not all(parameter.requires_grad for parameter in model.parameters()):
        raise NotApplicable("what they teach is frozen")
    for name, (value, weight) in output.losses.items():
        if not value.isfinite():
            raise Violation(f"the loss {name!r} is {value.item()}.")
        if weight and not value.requires_grad:
            raise Violation(f"the loss {name!r} has no gradient at all.")
        if weight:
            found = [grad for grad in auxiliary_gradients(output, name, model).values() if grad is not None]
            if not any(gradient.any() for gradient in found):
                raise Violation(f"the loss {name!r} moves no parameter.")
    for name, value in _stats(output).items():
        if value.requires_grad:
            raise Violation(f"the stat {name!r} holds on to the graph; detach it.")


@holds(
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="a mean over all positions instead of those of ctx.token_mask_BT.",
)
def losses_and_stats_ignore_padding(subject: Subject) -> None:
    """Losses and stats are those of the real tokens: neither how much padding there is nor what fills it counts."""
    ids = subject.ids[:2, :8]
    for training in (False, True):
        model = subject.copy().train(training)
        mode = "training" if training else "evaluation"
        plain = _run(subject, model, ids)
        _needs_any(plain)
        other: dict[str, Output] = {}
        for side in ("left", "right"):
            for filler in (7, 23):
                extra, mask = ids.new_full((2, 4), filler), torch.ones_like(ids, dtype=torch.bool)
                off = torch.zeros_like(extra, dtype=torch.bool)
                pieces, masks = ([extra, ids], [off, mask]) if side == "left" else ([ids, extra], [mask, off])
                other[f"4 of padding (id {filler}) on the {side}"] = _run(
                    subject, model, torch.cat(pieces, dim=1), torch.cat(masks, dim=1)
                )
        for text, output in other.items():
            # What capacity lets through in training may depend on the row's length, and stats count it.
            _require_same(plain, output, f"in {mode}, with {text}", with_stats=not training)


@holds(usually="a loss named without the site's key (f\"{site.key}.balance\"), which the next layer's overwrites.")
def losses_are_named_apart(subject: Subject) -> None:
    """Losses and stats of different layers have different names."""
    names: Counter[str] = Counter()
    model = subject.copy().train()
    for sublayer in subject.sublayers(model).values():
        sublayer.register_forward_hook(lambda module, inputs, output: names.update([*output.losses, *output.stats]))
    with seeded(0):
        output = subject.run(subject.ids, model=model)
    _needs_any(output)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise Violation(f"{', '.join(twice)} stand for several layers.")


def _run(subject: Subject, model: torch.nn.Module, ids: Tensor, mask: Tensor | None = None) -> Output:
    with seeded(0):
        return subject.run(ids, model=model, **({} if mask is None else {"token_mask_BT": mask}))


def _require_same(first: Output, second: Output, when: str, *, with_stats: bool) -> None:
    pairs = {f"the loss {name!r}": (value, second.losses[name][0]) for name, (value, _) in first.losses.items()}
    if with_stats:
        later = _stats(second)
        pairs |= {f"the stat {name!r}": (value, later[name]) for name, value in _stats(first).items()}
    for name, (before, after) in pairs.items():
        if before.shape != after.shape or gap(after.double(), before.double()) > EXACT:
            raise Violation(f"{name} is {_text(after)} {when}; without it is {_text(before)}.")


def _stats(output: Output) -> dict[str, Tensor]:
    """The stats as numbers."""
    return {name: mean.value for name, mean in output.stats.items()}


def _needs_any(output: Output) -> None:
    if not output.losses and not output.stats:
        raise NotApplicable("there are no auxiliary losses and no stats")


def _text(value: Tensor) -> str:
    return f"{value.item():.6g}" if value.numel() == 1 else str(value.detach().tolist())
