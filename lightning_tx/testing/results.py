"""What a check found. Imports nothing that takes time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lightning_tx.core.errors import LtxError

Status = Literal["passed", "failed", "skipped", "unasked"]


class Violation(Exception):
    """Raised by a property that does not hold.

    Args:
        seen: what was observed: numbers, names of parameters, positions.
        cause: what causes just this, where it is not the property's usual cause.
    """

    def __init__(self, seen: str, cause: str | None = None) -> None:
        super().__init__(seen)
        self.cause = cause


class NotApplicable(Exception):
    """Raised by a property that has nothing to say about a subject.

    Args:
        reason: why.
    """


@dataclass(frozen=True)
class Failure:
    """A property that does not hold.

    Attributes:
        property: its name.
        what: what should hold.
        component: the component in question, as ``group/label``, or the whole combination.
        place: the parts it was built with.
        seen: what was observed instead.
        usual_cause: what usually causes it; None where an error was raised, which says itself what is wrong.
        raised_at: file, line and source text of the component where an error was raised; None where there was none.
        hint: what else was noticed of the component that may be the cause.
        kin: what it shares with other properties that fail together, most of the time by one cause; empty for nothing.
    """

    property: str
    what: str
    component: str
    place: str
    seen: str
    usual_cause: str | None
    raised_at: str | None = None
    hint: str = ""
    kin: str = ""

    def __str__(self) -> str:
        lines = [
            f"{self.component} violates {self.property!r}: {self.what}",
            f"  built as:       {self.place}",
            f"  seen:           {self.seen}",
        ]
        lines += [f"  raised at:      {self.raised_at}"] if self.raised_at else []
        lines += [f"  noticed too:    {self.hint}"] if self.hint else []
        lines += [f"  usually due to: {self.usual_cause}"] if self.usual_cause else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Result:
    """One property checked on one subject.

    Attributes:
        property: the property's name.
        status: how it went; ``unasked`` where a failure before it would only have been repeated.
        seconds: how long it took.
        failure: what was found, where it failed.
        reason: why it was skipped, or not asked.
    """

    property: str
    status: Status
    seconds: float
    failure: Failure | None = None
    reason: str = ""


class ConformanceError(LtxError, AssertionError):
    """A component does not conform; the message is that of its :class:`Failure`."""


def reports(failures: Sequence[Failure]) -> list[str]:
    """Each cause once: its first failure, and where else it shows."""
    by_cause: dict[tuple[str, ...], list[Failure]] = {}
    for failure in failures:
        by_cause.setdefault(_cause(failure), []).append(failure)
    return [_report(alike) for alike in by_cause.values()]


def _cause(failure: Failure) -> tuple[str, ...]:
    """What failures of one cause share: the line that raised an error, or else the property or its kin."""
    if failure.raised_at:
        return failure.component, failure.raised_at, failure.seen.partition(":")[0]
    return failure.component, failure.kin or failure.property


def _report(alike: Sequence[Failure]) -> str:
    first, *others = alike
    properties = [name for name in dict.fromkeys(each.property for each in others) if name != first.property]
    places = len({each.place for each in alike}) - 1
    more = [f"in {', '.join(properties)}"] if properties else []
    more += [f"in {places} more {'model' if places == 1 else 'models'}"] if places else []
    return f"{first}\n  as well:        {'; '.join(more)}" if more else str(first)
