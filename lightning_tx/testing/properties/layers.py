"""Blocks and norms."""

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor, nn

from lightning_tx.components.block.base import Block
from lightning_tx.components.norm.base import NORM
from lightning_tx.core.context import Output
from lightning_tx.testing.component import Component
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import randomise, require_close


@holds(
    groups=("block", "attention", "feed_forward", "model"),
    in_combinations=True,
    usually="a residual that does not call its branch, or calls it twice.",
)
def every_sublayer_runs_once(subject: Subject) -> None:
    """A block runs each of its sublayers once, and what each returns matters."""
    model = subject.copy()
    calls: Counter[str] = Counter()
    sublayers = {
        f"{prefix}.sublayers.{role}": sublayer
        for prefix, block in model.named_modules()
        if isinstance(block, Block)
        for role, sublayer in block.sublayers.items()
    }
    handles = [
        sublayer.register_forward_hook(lambda module, inputs, output, name=name: calls.update([name]))
        for name, sublayer in sublayers.items()
    ]
    if not sublayers:
        raise NotApplicable("there are no sublayers")
    expected = subject.states(subject.ids, model=model)
    for handle in handles:
        handle.remove()
    wrong = [f"{name} {calls[name]} times" for name in sublayers if calls[name] != 1]
    if wrong:
        raise Violation(f"a forward pass ran {', '.join(wrong)}.")
    for name, sublayer in sublayers.items():
        if not subject.has_attention and name.startswith("encoder."):
            continue  # nothing reads the encoder
        handle = sublayer.register_forward_hook(_shifted)
        if torch.equal(subject.states(subject.ids, model=model), expected):
            raise Violation(f"what {name} returns makes no difference.")
        handle.remove()


@holds(about="component", groups=("norm",), tolerance="1e-12", usually="a mean over more than the last dimension.")
def norm_is_of_the_last_dimension(subject: Component) -> None:
    """A norm treats every vector of the last dimension by itself, at any width and number of dimensions."""
    generator = torch.Generator().manual_seed(0)
    for width in (1, 4, 16):
        norm: nn.Module = randomise(NORM.create(subject.config, width).double())
        x = torch.randn(2, 3, 5, width, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            whole = norm(x)
            if whole.shape != x.shape:
                raise Violation(f"a norm of width {width} returns shape {list(whole.shape)} for {list(x.shape)}.")
            for own, together in (
                (x[:1, :1, :1], whole[:1, :1, :1]),
                (x[1, 2], whole[1, 2]),
                (x[1, 2, 4], whole[1, 2, 4]),
            ):
                require_close(norm(own), together, 1e-12, f"a vector of width {width} normalised alone and with others")


@holds(
    about="component",
    groups=("norm",),
    usually="eps added to the root instead of to the mean of squares, whose root has no derivative at 0; or a variance "
    "over n - 1, which is 0 / 0 at width 1.",
)
def norms_are_finite(subject: Component) -> None:
    """A vector of zeros, of equal values, of large or of small ones has a finite norm and a finite gradient."""
    for width in (1, 4, 16):
        norm: nn.Module = randomise(NORM.create(subject.config, width).double())
        vectors = {
            "zeros": torch.zeros(width),
            "ones": torch.ones(width),
            "values around 1e-8": torch.linspace(-1e-8, 1e-8, width),
            "values around 1e8": torch.linspace(-1e8, 1e8, width),
        }
        for name, vector in vectors.items():
            x = vector.double()[None].requires_grad_()
            found = norm(x)
            if not found.isfinite().all():
                raise Violation(f"{width} {name} are normalised to values that are not finite.")
            (gradient,) = torch.autograd.grad(found.sum(), x)
            if not gradient.isfinite().all():
                raise Violation(f"the gradient at {width} {name} is not finite.")


def _shifted(module: nn.Module, inputs: object, output: object) -> object:
    assert isinstance(output, Output)
    x: Tensor = output.x
    return replace(output, x=x + torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype, device=x.device).cos())
