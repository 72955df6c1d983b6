"""What a check found. Imports nothing that takes time."""

from dataclasses import dataclass
from typing import Literal

from lightning_tx.core.errors import LtxError

Status = Literal["passed", "failed", "skipped"]


class Violation(Exception):
    """Raised by a property that does not hold.

    Args:
        seen: what was observed: numbers, names of parameters, positions.
    """


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
        usual_cause: what usually causes it.
    """

    property: str
    what: str
    component: str
    place: str
    seen: str
    usual_cause: str

    def __str__(self) -> str:
        lines = [
            f"{self.component} violates {self.property!r}: {self.what}",
            f"  built as:       {self.place}",
            f"  seen:           {self.seen}",
            f"  usually due to: {self.usual_cause}",
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Result:
    """One property checked on one subject.

    Attributes:
        property: the property's name.
        status: how it went.
        seconds: how long it took.
        failure: what was found, where it failed.
        reason: why it was skipped.
    """

    property: str
    status: Status
    seconds: float
    failure: Failure | None = None
    reason: str = ""


class ConformanceError(LtxError, AssertionError):
    """A component does not conform; the message is that of its :class:`Failure`."""
