"""What a metric measures: which way is good, and what two runs must share for its values to be compared."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

Direction = Literal["min", "max"]

#: Facts that two runs must share for numbers about whole texts (bits per byte, BLEU): the text that is judged.
TEXT = ("validation_data",)
#: And for numbers about tokens (loss, perplexity, accuracy): the same targets, cut and chosen in the same way.
TARGETS = ("validation_data", "tokenizer", "objective", "validation_targets")

#: Where the numbers of a measure stand: while training, at the end of training, at the best validation.
VALIDATION, LAST, BEST = "val/", "last/", "best/"
#: And those on the test split: at the end of training, and of the weights that the run keeps.
LAST_TEST, TEST = "last_test/", "test/"
PREFIXES = (VALIDATION, LAST, BEST, LAST_TEST, TEST)


@dataclass(frozen=True)
class Measure:
    """One number that a task gives.

    Attributes:
        direction: ``min`` where small values are good, ``max`` where large ones are.
        needs: facts (``facts.*`` of a run) that must be equal for values of two runs to be compared.
    """

    direction: Direction
    needs: tuple[str, ...] = TARGETS


#: What every run costs; comparable wherever it was measured in the same way.
COSTS: Mapping[str, Measure] = {
    "train/tokens_per_second": Measure("max", ("device", "threads")),
    "time/train_seconds": Measure("min", ("device", "threads")),
    "memory/peak_bytes": Measure("min", ("device",)),
    "params/total": Measure("min", ()),
    "params/trainable": Measure("min", ()),
    "params/active": Measure("min", ()),
    "flops/forward_per_token": Measure("min", ()),
    "flops/total": Measure("min", ()),
}


def measure_of(metric: str, measures: Mapping[str, Measure]) -> Measure | None:
    """The measure behind a metric's full name such as ``last_test/bleu``; None for one that nobody declared.

    Args:
        metric: the name in the store.
        measures: those that the task declares, by name.
    """
    if metric in COSTS:
        return COSTS[metric]
    prefix, name = split(metric)
    measure = measures.get(name)
    if measure is None or not prefix:
        return None
    if prefix not in (LAST_TEST, TEST):
        return measure
    return Measure(measure.direction, tuple(need.replace("validation_", "test_") for need in measure.needs))


def split(metric: str) -> tuple[str, str]:
    """Where a metric stands, as ``last_test/``, and its measure's name; an empty place for any other metric."""
    prefix = next((prefix for prefix in PREFIXES if metric.startswith(prefix)), "")
    return prefix, metric.removeprefix(prefix)


def to_text(measures: Mapping[str, Measure]) -> str:
    """Measures by name as JSON, for a tag of the run."""
    return json.dumps({name: asdict(measure) for name, measure in measures.items()})


def from_text(text: str) -> dict[str, Measure]:
    """The inverse of :func:`to_text`."""
    return {name: Measure(entry["direction"], tuple(entry["needs"])) for name, entry in json.loads(text).items()}
