"""What a component costs on long rows."""

from dataclasses import replace

from lightning_tx.testing.baseline import VOCAB_SIZE
from lightning_tx.testing.largest import Largest
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import random_tokens

#: Long enough for kernels of local windows to be chosen.
LONG = 2048


@holds(
    dear=True,
    usually="ctx.mask.dense(), positions[:, None] - positions[None], or scores of all queries and keys.",
)
def takes_no_dense_memory(subject: Subject) -> None:
    """Where tokens look at a few neighbours, or are gone through in order, no tensor of a forward pass grows with the
    square of the length.
    """
    if subject.group == "pattern" or not subject.has_attention or subject.has_source:
        raise NotApplicable("it is said of patterns by a property of their own, and of stacks by themselves")
    pattern = {"name": "local", "window": 4} if subject.attends else {"name": "full"}
    local = replace(subject, parts={**subject.parts, "pattern": pattern})
    largest = _largest(local, LONG)
    # A few numbers for each pair of neighbours may be as many, and are but twice as many for twice the tokens.
    if largest.numel > LONG * LONG // 2 and _largest(local, 2 * LONG).numel > 3 * largest.numel:
        raise Violation(
            f"{largest.name} made a tensor of shape {largest.shape} for {LONG} tokens, of which none looks at many."
        )


def _largest(subject: Subject, length: int) -> Largest:
    """The largest tensor of a forward pass over so many tokens."""
    model = replace(subject, length=length).build(num_layers=1).eval()
    ids = random_tokens(1, length, vocab_size=VOCAB_SIZE, seed=0, device=subject.device)
    with Largest() as largest:
        subject.states(ids, model=model)
    return largest
