"""Auxiliary losses and stats."""

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor, nn

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


@holds(
    in_combinations=True,
    usually="a block that returns Output(x) and leaves out what its sublayers returned: use Output.gather.",
)
def losses_reach_the_model(subject: Subject) -> None:
    """What a sublayer returns as losses and stats, the model returns."""
    beside = _balanced(subject) if subject.group in ("block", "model") else subject
    returned: dict[str, Tensor] = {}

    def watch(module: nn.Module, inputs: object, output: Output) -> None:
        returned.update({name: value for name, (value, _) in output.losses.items()})
        returned.update({name: mean.sum for name, mean in output.stats.items()})

    model = beside.copy().train()
    for sublayer in beside.sublayers(model).values():
        sublayer.register_forward_hook(watch)
    with seeded(0):
        output = beside.run(beside.ids, model=model)
    if not returned:
        raise NotApplicable("there are no auxiliary losses and no stats")
    lost = set(returned) - set(output.losses) - set(output.stats)
    if lost:
        raise Violation(f"a sublayer returned {', '.join(sorted(lost)[:3])}, and the model does not.")
    other = [name for name, (value, _) in output.losses.items() if name in returned and value != returned[name]]
    if other:
        raise Violation(f"a sublayer returned another {other[0]} than the model.")


@holds(
    tolerance=f"{EXACT:g}",
    in_combinations=True,
    usually="a sum over rows or tokens where a mean is meant, or a Mean that counts batches instead of tokens.",
)
def losses_are_means(subject: Subject) -> None:
    """Losses do not depend on the size of the batch: rows given twice leave them; stats of two batches add up."""
    model = subject.copy()
    ids = subject.ids[:2]
    plain, twice = _run(subject, model, ids), _run(subject, model, ids.repeat(2, 1))
    _needs_any(plain)
    for name, (value, _) in plain.losses.items():
        other = twice.losses[name][0]
        if gap(other.double(), value.double()) > EXACT:
            raise Violation(f"the loss {name!r} is {_text(value)}, and {_text(other)} when every row is there twice.")
    three, one = subject.ids, subject.ids[:1]
    whole, first, rest = (_run(subject, model, each) for each in (three, one, three[1:]))
    for name, mean in whole.stats.items():
        together = first.stats[name].plus(rest.stats[name])
        if gap(together.value.double(), mean.value.double()) > EXACT:
            raise Violation(
                f"the stat {name!r} is {_text(mean.value)} over three rows, and {_text(together.value)} put together "
                "from one and two rows."
            )


@holds(
    groups=("feed_forward",),
    usually="idle_parameters() left at 0 by a mixture of experts, or counted for another number of chosen experts.",
)
def idle_parameters_are_idle(subject: Subject) -> None:
    """As many parameters as idle_parameters says take no part in the computation of one token."""
    model = subject.copy()
    parameters: set[nn.Parameter] = set()
    declared = 0
    for name, sublayer in next(reversed(model.stacks.values())).sublayers.items():
        if name.endswith("feed_forward"):
            if sublayer.sees_others:
                raise NotApplicable("what a token takes depends on the others of its document")
            declared += sublayer.idle_parameters()
            parameters |= set(sublayer.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise NotApplicable("there are no parameters")
    used = [grad is not None and bool(grad.any()) for grad in _gradients(subject, model, subject.ids, trained)]
    read = [parameter for parameter, is_used in zip(trained, used, strict=True) if is_used]
    unread = sum(parameter.numel() for parameter in trained) - sum(parameter.numel() for parameter in read)
    fewest, most = [], []
    for token in range(3):
        found = _gradients(subject, model, subject.ids[:1, token : token + 1], read)
        pairs = list(zip(read, found, strict=True))
        # A whole matrix without gradient is idle; single entries may be so by chance, as those behind a ReLU.
        fewest.append(sum(_idle(parameter, gradient) for parameter, gradient in pairs))
        most.append(unread + sum(each.numel() if grad is None else int((grad == 0).sum()) for each, grad in pairs))
    if min(fewest) > declared:
        raise Violation(f"of one token at least {min(fewest)} parameters are idle; idle_parameters() says {declared}.")
    if declared > max(most):
        raise Violation(f"of one token at most {max(most)} parameters are idle; idle_parameters() says {declared}.")


def _balanced(subject: Subject) -> Subject:
    """The model with a mixture of experts for a feed-forward, which has losses and stats."""
    return replace(subject, parts={**subject.parts, "feed_forward": {"name": "moe", "num_experts": 4}})


def _gradients(
    subject: Subject, model: nn.Module, ids: Tensor, parameters: list[nn.Parameter]
) -> tuple[Tensor | None, ...]:
    x = subject.run(ids, model=model).x
    weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype, device=x.device).cos().view_as(x)
    return torch.autograd.grad((x * weights).sum(), parameters, allow_unused=True)


def _idle(parameter: nn.Parameter, gradient: Tensor | None) -> int:
    """Entries of matrices, one of several or a single one, that have no gradient at all."""
    if gradient is None or not gradient.any():
        return parameter.numel()
    if parameter.ndim < 3:
        return 0
    return int((~gradient.flatten(1).any(dim=1)).sum()) * parameter[0].numel()


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
