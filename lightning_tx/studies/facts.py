"""What runs were made of besides their configs: data, precision, device and code; and which of it follows from what.

A fact that was not recorded is not known: it is neither equal to nor different from any other.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_tx.core import names
from lightning_tx.studies.factors import Factor
from lightning_tx.studies.keys import below

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

#: The digest of all splits, and that of the tokenizer.
DATA = "data"
TOKENIZER = "tokenizer"
#: Facts that follow from no other and that every run has.
_ROOTS = (DATA, TOKENIZER, "objective", "precision", "device", "threads", "torch", "lightning_tx", "code")
#: Facts whose values are digests; so many characters tell them apart.
_DIGESTS = (DATA, "validation_data", "test_data", TOKENIZER, "code")
_DIGEST_CHARACTERS = 8

_DATA = ("data", f"{names.FACTS}{DATA}")
_TOKENS = (
    *_DATA,
    "tokenizer",
    f"{names.FACTS}{TOKENIZER}",
    "task",
    f"{names.FACTS}objective",
    "model.max_seq_len",
    "pattern",
)
#: By fact, the keys of the config and the other facts that it follows from; where one of these is told, it is not.
_CAUSES: dict[str, tuple[str, ...]] = {
    DATA: ("data",),
    "validation_data": _DATA,
    "test_data": _DATA,
    TOKENIZER: (*_DATA, "tokenizer", "task.joint_vocabulary"),
    "objective": ("task", "model.max_seq_len", "trainer.batch_size", "trainer.batch_tokens"),
    "validation_targets": _TOKENS,
    "test_targets": _TOKENS,
    "precision": ("trainer.precision",),
    "code": (f"{names.FACTS}lightning_tx",),
}


def as_keys(run: "RunRecord") -> dict[str, str]:
    """The facts of a run as keys beside those of its config, as ``facts.precision``."""
    return {f"{names.FACTS}{fact}": brief(fact, value) for fact, value in run.facts.items()}


def brief(fact: str, value: str) -> str:
    """A fact's value for a reader: of a digest so much as tells it from others."""
    return f"digest {value[:_DIGEST_CHARACTERS]}" if fact in _DIGESTS else value


def is_fact(key: str) -> bool:
    """Whether a key is that of a fact."""
    return key.startswith(names.FACTS)


def causes_among(key: str, keys: Collection[str]) -> list[str]:
    """Those of ``keys`` that a fact follows from; none for a key of the config."""
    is_cause = below(_CAUSES.get(key.removeprefix(names.FACTS), ()) if is_fact(key) else ())
    return [other for other in keys if is_cause(other)]


def is_of(factor: Factor, key: str) -> bool:
    """Whether a fact follows from what a factor varies: the digest of the tokenizer from ``tokenizer.vocab_size``."""
    causes = _CAUSES.get(key.removeprefix(names.FACTS), ())
    return is_fact(key) and (bool(causes_among(key, factor.keys)) or any(factor.owns(cause) for cause in causes))


def is_of_the_seed(key: str, runs: Sequence["RunRecord"], facts: Mapping[str, Mapping[str, object]]) -> bool:
    """Whether all runs of a seed agree in a fact, so that no comparison, each of which is within a seed, mixes values.

    Args:
        key: the fact's key.
        runs: the runs.
        facts: by run id, what is known of them; those of which the fact is not known have no say.
    """
    values = {(run.seed, facts[run.run_id][key]) for run in runs if key in facts[run.run_id]}
    return len(values) == len({seed for seed, _ in values})


def between_seeds(runs: Sequence["RunRecord"]) -> dict[str, dict[str, list[int | None]]]:
    """Facts that are the same for all runs of a seed and differ between seeds: by value, the seeds that have it."""
    facts = {run.run_id: as_keys(run) for run in runs}
    found: dict[str, dict[str, list[int | None]]] = {}
    for key in dict.fromkeys(key for own in facts.values() for key in own):
        values: dict[str, list[int | None]] = {}
        for run in runs:
            if key in facts[run.run_id]:
                seeds = values.setdefault(facts[run.run_id][key], [])
                seeds += [run.seed] if run.seed not in seeds else []
        if len(values) > 1 and is_of_the_seed(key, runs, facts):
            found[key] = values
    return {key: values for key, values in found.items() if not causes_among(key, found)}


def unknown_beside(runs: Sequence["RunRecord"]) -> dict[str, int]:
    """Facts that some runs recorded and others, of before they were, did not: of how many each is not known."""
    facts = [run.facts for run in runs]
    missing = {fact: sum(fact not in own for own in facts) for fact in _ROOTS}
    return {f"{names.FACTS}{fact}": count for fact, count in missing.items() if 0 < count < len(facts)}
