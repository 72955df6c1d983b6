"""Every parameter learns."""

import torch
from torch import Tensor, nn

from lightning_tx.core.context import Output
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import seeded

#: What is left of a gradient that cancels out, relative to the largest of the model.
NONE = 1e-13
#: The softmax does not see what is added to all keys alike.
UNSEEN = ("k_proj.bias", "k_norm.bias")


@holds(
    in_combinations=True,
    usually="a parameter that forward does not use, .detach() or torch.no_grad() on its way, a choice without gradient "
    "(argmax; weights of a single expert normalised to 1), or a sublayer that is skipped.",
)
def gradients(subject: Subject) -> None:
    """Every trained parameter gets a gradient from the objective alone: present, finite, not zero throughout."""
    model = subject.gentle_copy()
    with seeded(0):
        output = subject.run(subject.ids, model=model)
    found = parameter_gradients(objective(model, output.x), model)
    largest = max(gradient.abs().max() for gradient in found.values() if gradient is not None)
    silent = unread(subject)
    for name, gradient in found.items():
        if gradient is None:
            if not name.startswith(silent):
                raise Violation(f"{name} gets no gradient.")
        elif not gradient.isfinite().all():
            raise Violation(f"the gradient of {name} is not finite.")
        elif gradient.abs().max() <= NONE * largest and not name.startswith(silent) and not name.endswith(UNSEEN):
            raise Violation(f"the gradient of {name} is zero throughout.")


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
    if subject.has_attention:
        return ()
    positions = [name for name, module in subject.model.named_modules() if module in subject.positions]
    return ("encoder.", "source_embedding.", *(f"{name}." for name in positions))
