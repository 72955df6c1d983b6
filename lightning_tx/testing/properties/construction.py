"""How a component is built and initialised."""

import io
import random
from contextlib import redirect_stderr, redirect_stdout, suppress

import numpy as np
import torch
from torch import Tensor

from lightning_tx.core.errors import PluginError
from lightning_tx.model.build import build_model
from lightning_tx.testing.baseline import PARTS, VOCAB_SIZE
from lightning_tx.testing.process import GENERATORS, differing, restore, settings
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import generator_states, seeded, tensors_of


@holds(
    basic=True,
    usually="a parameter filled in the constructor, where initialisation is declared instead "
    '(initial = {"weight": Normal(0.02)}), or a buffer of random values.',
)
def initialisation(subject: Subject) -> None:
    """Every parameter and buffer is a function of the seed: declared, finite, and not drawn from a global generator."""
    first = _initialised(subject, seed=3, generators=0)
    second = _initialised(subject, seed=3, generators=1)
    for name, value in first.items():
        if not value.isfinite().all():
            raise Violation(f"{name} starts with values that are not finite.")
        if not torch.equal(value, second[name]):
            raise Violation(f"{name} differs between two models of the same seed.")
    other = _initialised(subject, seed=4, generators=0)
    if all(torch.equal(value, other[name]) for name, value in first.items()):
        raise Violation("another seed gives the same values.")


@holds(usually="a tensor made with a device, or filled by reading another's values (.item(), .tolist(), numpy).")
def builds_without_memory(subject: Subject) -> None:
    """On the meta device it has the parameters that it has elsewhere, and takes no memory."""
    found = subject.build(device=torch.device("meta"))
    real = [name for name, value in tensors_of(found).items() if not value.is_meta]
    if real:
        raise Violation(f"{', '.join(real)} hold values on the meta device.")
    expected = {name: value.shape for name, value in tensors_of(subject.build()).items()}
    shapes = {name: value.shape for name, value in tensors_of(found).items()}
    if shapes != expected:
        differing = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
        raise Violation(f"on the meta device {', '.join(differing)} are missing, more, or of another shape.")


@holds(groups=("model",), once=True, usually="sizes that only fit each other at the size they were tried at.")
def builds_at_its_own_size(subject: Subject) -> None:
    """At the sizes that its config names it can be built."""
    config = {"model": subject.topology, **{group: subject.parts[group] for group in PARTS}}
    build_model(config, vocab_size=VOCAB_SIZE, device="meta")


@holds(usually="random.random(), numpy.random or torch.randn in a constructor.")
def leaves_generators_alone(subject: Subject) -> None:
    """Building draws nothing from the generators of the caller: Python's, NumPy's and PyTorch's."""
    before = generator_states()
    subject.build()
    changed = [name for name, state in generator_states().items() if not np.array_equal(state, before[name])]
    if changed:
        raise Violation(f"building moved the generator of {', '.join(changed)}.")


@holds(
    basic=True,
    usually="torch.set_default_dtype, os.environ or a setting of a library changed where the component "
    "is made or run; what it needs it can name for its own tensors.",
)
def leaves_the_process_alone(subject: Subject) -> None:
    """Building and running leave the settings of the process as they are, and print nothing."""
    before = settings()
    text = io.StringIO()
    try:
        with redirect_stdout(text), redirect_stderr(text):
            model = subject.build()
            for training in (False, True):
                with seeded(0), suppress(Exception):  # that it cannot run is for others to say
                    subject.run(subject.ids, model=model.train(training))
        changed = [name for name in differing(before, settings()) if name not in GENERATORS]
    finally:
        restore(before)
    if changed:
        raise Violation(f"building or running it changed {', '.join(changed)}.")
    if text.getvalue():
        raise Violation(
            f"it prints: {text.getvalue().splitlines()[0]!r}.", "a print left over from a search for a fault."
        )


def _initialised(subject: Subject, *, seed: int, generators: int) -> dict[str, Tensor]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        random.seed(generators)
        np.random.seed(generators)
        with seeded(generators):
            return tensors_of(subject.build(seed=seed))
    except PluginError as error:
        raise Violation(str(error)) from error
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
