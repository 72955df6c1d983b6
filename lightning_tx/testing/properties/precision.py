"""Lower precision, and compilation."""

from dataclasses import replace

import torch

from lightning_tx.testing.properties.gradients import objective
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import require_close, typical_gap

#: Relative error of a typical state. bfloat16 rounds by 2^-9 = 0.002 each time.
COARSE = 0.06
#: Far from 0 a position has no exact value in bfloat16.
FAR = 3000


@holds(
    tolerance=f"{COARSE:g} of a typical state", usually="sums or exponentials taken in bfloat16; take them in float32."
)
def bfloat16(subject: Subject) -> None:
    """In bfloat16 states are bfloat16, finite, and close to those of float64."""
    _coarse(subject, {})


@holds(
    tolerance=f"{COARSE:g} of a typical state",
    groups=("positions",),
    usually="angles or distances computed in bfloat16, which has no 3,001; compute them in float32, then round.",
)
def bfloat16_at_far_positions(subject: Subject) -> None:
    """In bfloat16 positions far from the start are as exact as those near it, in heads of the usual width too."""
    subject.needs_documents()
    if subject.positions[0].max_positions is not None:
        raise NotApplicable("the positions end")
    at = torch.arange(subject.ids.shape[1], device=subject.device)[None]
    wide = replace(subject, sizes={"head_dim": 64, "num_heads": 2})
    for each in (subject, wide):
        # Spread out, so that angles differ that are alike in neighbours.
        _coarse(each, {"positions_BT": at + FAR})
        _coarse(each, {"positions_BT": at * (FAR // subject.length)})


@holds(
    tolerance=f"{COARSE:g} of a typical state",
    usually="tensors of different dtypes that meet, or .to(x.dtype) left out.",
)
def autocast(subject: Subject) -> None:
    """Under autocast to bfloat16 it runs forward and backward; parameters' gradients are float32 and finite."""
    model = subject.copy().float().train()
    with torch.autocast(subject.device.type, dtype=torch.bfloat16):
        output = subject.run(subject.ids, model=model)
        value = objective(model, output.x.float())
    if not output.x.isfinite().all():
        raise Violation("states that are not finite.")
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, gradient in zip(
        trained, torch.autograd.grad(value, list(trained.values()), allow_unused=True), strict=True
    ):
        if gradient is not None and (gradient.dtype != torch.float32 or not gradient.isfinite().all()):
            raise Violation(f"the gradient of {name} is {gradient.dtype}, or not finite.")
    with torch.autocast(subject.device.type, dtype=torch.bfloat16):
        states = subject.states(subject.ids, model=model.eval())
    seen = typical_gap(states, subject.states(subject.ids))
    if not seen <= COARSE:
        raise Violation(f"a typical state is off by {seen:.2g} of its size (allowed {COARSE:g}).")


@holds(
    tolerance="1e-9",
    dear=True,
    usually="control flow or a Python number that depends on values (.item(), if tensor:), print, or a library call.",
)
def compiles_in_one_graph(subject: Subject) -> None:
    """torch.compile takes the whole forward pass without a graph break (fullgraph=True, backend="eager")."""
    model = subject.random_model(num_layers=1, num_encoder_layers=1, num_decoder_layers=1)
    expected = subject.states(subject.ids, model=model)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    try:
        found = subject.states(subject.ids, model=compiled)
    except Exception as error:
        said = str(error).strip().partition(chr(10))[0]
        raise Violation(f"torch.compile stops: {said}") from error
    finally:
        torch._dynamo.reset()
    require_close(found, expected, 1e-9, "the compiled model and the plain one")


def _coarse(subject: Subject, rows: dict[str, torch.Tensor]) -> None:
    states = subject.states(subject.ids, model=subject.copy().bfloat16(), **rows)
    if states.dtype != torch.bfloat16:
        raise Violation(f"states are {states.dtype}.")
    if not states.isfinite().all():
        raise Violation("states that are not finite.")
    seen = typical_gap(states, subject.states(subject.ids, **rows))
    if not seen <= COARSE:
        raise Violation(f"a typical state is off by {seen:.2g} of its size (allowed {COARSE:g}).")
