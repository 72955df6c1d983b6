"""What a metric measures: which way is good, and what two runs must share for its values to be compared."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from lightning_tx.core import names

Direction = Literal["min", "max"]

#: Facts that two runs must share for numbers about whole texts (bits per byte, BLEU): the text that is judged.
TEXT = ("validation_data",)
#: And for numbers about tokens (loss, perplexity, accuracy): the same targets, cut and chosen in the same way.
TARGETS = ("validation_data", "tokenizer", "objective", "validation_targets")


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
    names.TOKENS_PER_SECOND: Measure("max", ("device", "threads")),
    names.TRAIN_SECONDS: Measure("min", ("device", "threads")),
    names.PEAK_BYTES: Measure("min", ("device",)),
    names.TOTAL_PARAMETERS: Measure("min", ()),
    names.TRAINABLE_PARAMETERS: Measure("min", ()),
    names.ACTIVE_PARAMETERS: Measure("min", ()),
    names.FORWARD_FLOPS: Measure("min", ()),
    names.TOTAL_FLOPS: Measure("min", ()),
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
    if prefix not in (names.LAST_TEST, names.TEST):
        return measure
    return Measure(measure.direction, tuple(need.replace("validation_", "test_") for need in measure.needs))


def split(metric: str) -> tuple[str, str]:
    """Where a metric stands, as ``last_test/``, and its measure's name; an empty place for any other metric."""
    prefix = next((prefix for prefix in names.PLACES if metric.startswith(prefix)), "")
    return prefix, metric.removeprefix(prefix)


def to_text(measures: Mapping[str, Measure]) -> str:
    """Measures by name as JSON, for a tag of the run."""
    return json.dumps({name: asdict(measure) for name, measure in measures.items()})


def from_text(text: str) -> dict[str, Measure]:
    """The inverse of :func:`to_text`."""
    return {name: Measure(entry["direction"], tuple(entry["needs"])) for name, entry in json.loads(text).items()}
