"""What a checkpoint holds is the whole model."""

import copy

import torch

from lightning_tx.testing.property import holds
from lightning_tx.testing.results import Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import require_close, seeded

EXACT = 1e-11


@holds(
    tolerance=f"{EXACT:g}",
    usually="register_buffer(..., persistent=False), or a plain attribute, for values that are drawn or learned.",
)
def state_dict_is_the_model(subject: Subject) -> None:
    """Another instance, of another seed, that loads the state computes the same, also after steps of training."""
    model = subject.copy().train()
    for seed in range(3):
        with seeded(seed), torch.no_grad():
            output = subject.run(subject.ids, model=model)
        # What moves without a gradient moves here, and has to be saved.
        for sublayer in subject.sublayers(model).values():
            sublayer.after_step(output.stats)
    model.eval()
    with seeded(7):
        other = subject.build(seed=7).double().eval()
    missing, unexpected = other.load_state_dict(model.state_dict(), strict=False)
    if missing or unexpected:
        raise Violation(f"the state lacks {missing} and has {unexpected} too much.")
    expected = subject.states(subject.ids, model=model)
    require_close(subject.states(subject.ids, model=other), expected, EXACT, "the loaded model and the saved one")


@holds(tolerance=f"{EXACT:g}", usually="a closure or a list that holds on to the modules of the first.")
def copies_are_independent(subject: Subject) -> None:
    """A deep copy computes the same, and goes on doing so when the first is changed."""
    model = subject.random_model()
    twin = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data.zero_()
    expected = subject.states(subject.ids)
    require_close(subject.states(subject.ids, model=twin), expected, EXACT, "a copy and the model it was made of")
