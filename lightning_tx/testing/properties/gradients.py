"""Every parameter learns."""

import re

import torch
from torch import Tensor, nn

from lightning_tx.core.context import Output
from lightning_tx.testing.baseline import VOCAB_SIZE
from lightning_tx.testing.declared import exact_gradient
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import GENTLE, random_tokens, randomise, seeded

#: What is left of a gradient that cancels out, relative to the largest of the model.
NONE = 1e-13
#: The softmax does not see what is added to all keys alike.
UNSEEN = re.compile(r"\bk_(proj|norm)\.bias")
#: How many inputs a parameter may go without a gradient.
INPUTS = 6
#: A kink near by, as ReLU has, changes the difference by less, a term that is left out by more.
DERIVATIVE = 1e-3
#: Steps of the differences, which agree where the objective is smooth.
STEPS = (2e-5, 1e-5)


@holds(
    in_combinations=True,
    usually="a parameter that forward does not use, .detach() or torch.no_grad() on its way, a choice without gradient "
    "(argmax; weights of a single expert normalised to 1), or a sublayer that is skipped.",
)
def gradients(subject: Subject) -> None:
    """Every trained parameter gets a gradient from the objective alone: finite, and for some input not zero."""
    silent = unread(subject)
    missing: dict[str, str] = {}
    for seed in range(INPUTS):
        # An expert that no token of one input chose learns from another.
        model = randomise(subject.gentle_copy(), std=GENTLE, seed=1 + seed)
        ids = (
            subject.ids
            if seed == 0
            else random_tokens(*subject.ids.shape, vocab_size=VOCAB_SIZE, seed=seed, device=subject.device)
        )
        with seeded(0):
            output = subject.run(ids, model=model)
        found = parameter_gradients(objective(model, output.x), model)
        largest = max((gradient.abs().max() for gradient in found.values() if gradient is not None), default=0.0)
        zero: dict[str, str] = {}
        for name, gradient in found.items():
            if gradient is not None and not gradient.isfinite().all():
                raise Violation(f"the gradient of {name} is not finite.")
            if name.startswith(silent):
                continue
            if gradient is None:
                zero[name] = f"{name} gets no gradient."
            elif gradient.abs().max() <= NONE * largest and not UNSEEN.search(name):
                zero[name] = f"the gradient of {name} is zero throughout."
        missing = {name: text for name, text in zero.items() if seed == 0 or name in missing}
        if not missing:
            return
    raise Violation(next(iter(missing.values())))


@holds(
    tolerance=f"{DERIVATIVE:g}",
    in_combinations=True,
    usually="a .detach() or torch.no_grad() on one of several ways, or a backward of its own that forgets a term; "
    "where that is meant, the component says exact_gradient = False.",
)
def gradients_are_derivatives(subject: Subject) -> None:
    """The gradient is the derivative: along a random direction the objective changes as autograd says."""
    model = subject.gentle_copy()
    if not exact_gradient(model.modules()):
        raise NotApplicable("it says that its gradient is another")
    silent = unread(subject)
    trained = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.startswith(silent)
    }
    if not trained:
        raise NotApplicable("nothing is trained")
    value = _objective_of(subject, model)
    gradients = torch.autograd.grad(value, list(trained.values()), allow_unused=True)
    directions = _directions(trained)
    slopes = {
        name: 0.0 if gradient is None else (gradient * directions[name]).sum().item()
        for name, gradient in zip(trained, gradients, strict=True)
    }
    size = sum(slope**2 for slope in slopes.values()) ** 0.5
    together = _slope(subject, model, trained, directions)
    if together is None or abs(together - sum(slopes.values())) <= DERIVATIVE * max(size, abs(together)):
        return
    wrong = {}
    for name, slope in slopes.items():
        own = _slope(subject, model, trained, {name: directions[name]})
        if own is not None and abs(own - slope) > DERIVATIVE * max(size, abs(own)):
            wrong[name] = abs(own - slope) / max(size, abs(together))
    named = ", ".join(f"{name} (by {share:.0%})" for name, share in sorted(wrong.items(), key=lambda x: -x[1])[:3])
    raise Violation(
        f"along a random direction the objective changes by {together:.4g}, and autograd says "
        f"{sum(slopes.values()):.4g}; wrong are the gradients of {named or 'several parameters together'}."
    )


@holds(
    basic=True,
    usually="a Parameter or a module in a plain list or dict, which nn.Module does not see: use nn.ParameterList, "
    "nn.ModuleList or their dicts.",
)
def what_learns_is_a_parameter(subject: Subject) -> None:
    """Every tensor that a gradient reaches is one of the model's parameters, so that it is optimised and saved."""
    model = subject.gentle_copy()
    with seeded(0):
        output = subject.run(subject.ids, model=model)
    own = {id(parameter) for parameter in model.parameters()}
    strangers = [tuple(leaf.shape) for leaf in _leaves(output.x) if id(leaf) not in own]
    if strangers:
        raise Violation(f"a gradient reaches {len(strangers)} tensors that are no parameters, of shape {strangers[0]}.")


@holds(
    in_combinations=True,
    usually="0 · inf or 0 / 0 at padding, where a softmax over nothing or a norm of zeros has no derivative.",
)
def gradients_with_padding(subject: Subject) -> None:
    """Padding leaves every gradient finite."""
    model = subject.copy().train()
    width = subject.ids.shape[1]
    lengths = torch.tensor([[width], [width - 5], [1]], device=subject.device)
    mask = torch.arange(width, device=subject.device)[None] >= width - lengths
    with seeded(0):
        output = subject.run(subject.ids, model=model, token_mask_BT=mask)
    for name, gradient in parameter_gradients(objective(model, subject.of_tokens(output.x, mask)), model).items():
        if gradient is not None and not gradient.isfinite().all():
            raise Violation(f"the gradient of {name} is not finite with padding on the left.")


def objective(model: nn.Module, x: Tensor) -> Tensor:
    """A number that all logits of states [..., D] take part in."""
    logits = model.head.logits(x)  # type: ignore[operator]
    weights = torch.linspace(-1, 1, logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return (logits.log_softmax(dim=-1) * weights.cos()).sum(dim=-1).mean()


def parameter_gradients(value: Tensor, model: nn.Module) -> dict[str, Tensor | None]:
    """The gradient of a number with respect to every trained parameter."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(value, list(trained.values()), allow_unused=True, retain_graph=True)
    return dict(zip(trained, found, strict=True))


def auxiliary_gradients(output: Output, name: str, model: nn.Module) -> dict[str, Tensor | None]:
    """The gradient of one auxiliary loss."""
    return parameter_gradients(output.losses[name][0], model)


def unread(subject: Subject) -> tuple[str, ...]:
    """Prefixes of parameters that nothing reads: without attention no encoder, and no rotation or bias."""
    if subject.attends:
        return ()
    positions = [f"{name}." for name, module in subject.model.named_modules() if module in subject.positions]
    return tuple(positions) if subject.has_attention else ("encoder.", "source_embedding.", *positions)


def _objective_of(subject: Subject, model: nn.Module) -> Tensor:
    with seeded(0):
        return objective(model, subject.run(subject.ids, model=model).x)


def _directions(trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(each.shape, generator=generator, dtype=torch.float64).to(each.device)
        for name, each in trained.items()
    }


@torch.no_grad()
def _slope(
    subject: Subject, model: nn.Module, trained: dict[str, nn.Parameter], directions: dict[str, Tensor]
) -> float | None:
    """The derivative along directions by central differences; None where a choice that jumps is near."""
    found = []
    for step in STEPS:
        values = []
        for shift in (step, -2 * step, step):
            for name, direction in directions.items():
                trained[name].add_(direction, alpha=shift)
            values.append(_objective_of(subject, model).item())
        found.append((values[0] - values[1]) / (2 * step))
    if abs(found[0] - found[1]) > 0.1 * DERIVATIVE * max(map(abs, found), default=0.0) + 1e-9:
        return None
    return found[1]


def _leaves(x: Tensor) -> list[Tensor]:
    """The tensors that the gradient of a tensor ends at."""
    found, seen, todo = [], set(), [x.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        found += [] if leaf is None else [leaf]
        todo += [each for each, _ in node.next_functions]
    return found
