"""What a property is, and the list of all."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning_tx.testing.origin import origin
from lightning_tx.testing.results import Failure, NotApplicable, Result, Violation

#: What a property looks at: a model that has the component in it, or the component by itself.
About = Literal["model", "component"]


@dataclass(frozen=True)
class Property:
    """Something that holds for every component.

    Attributes:
        name: short, in snake case.
        what: what holds, a sentence.
        tolerance: how exactly, in words.
        usual_cause: what is wrong, most of the time, where it does not hold.
        about: what it looks at.
        groups: the groups whose components it concerns; None for all.
        in_combinations: whether it is worth its time on every combination of components too.
        basic: whether the properties after it mean nothing where it does not hold: they compare what it says is the
            same from one call to the next.
        dear: whether it takes so long that a quick look leaves it out.
        once: whether it is the same in every topology, and checked in one.
        kin: what it shares with others that fail together, most of the time by one cause; empty for nothing.
        check: raises :class:`Violation` or :class:`NotApplicable`.
    """

    name: str
    what: str
    tolerance: str
    usual_cause: str
    about: About
    groups: tuple[str, ...] | None
    in_combinations: bool
    basic: bool
    dear: bool
    once: bool
    kin: str
    check: Callable[[Any], None]

    def run(self, subject: Any) -> Result:
        """Check the property on a subject; whatever the component raises is a failure of the property."""
        start = time.perf_counter()
        try:
            self.check(subject)
        except NotApplicable as reason:
            return Result(self.name, "skipped", time.perf_counter() - start, reason=str(reason))
        except Violation as violation:
            cause = violation.cause or self.usual_cause
            return self._failed(subject, str(violation), cause, origin(violation.__cause__, subject.files), start)
        except (Exception, SystemExit) as error:
            seen = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            return self._failed(subject, seen, None, origin(error, subject.files, strict=False), start)
        return Result(self.name, "passed", time.perf_counter() - start)

    def unasked(self, reason: str) -> Result:
        """The result of a property that was left out."""
        return Result(self.name, "unasked", 0.0, reason=reason)

    def concerns(self, group: str, about: About) -> bool:
        """Whether it is checked for components of a group."""
        return self.about == about and (self.groups is None or group in self.groups)

    def _failed(self, subject: Any, seen: str, cause: str | None, raised_at: str | None, start: float) -> Result:
        failure = Failure(
            self.name,
            self.what,
            subject.title,
            subject.place,
            seen,
            cause,
            raised_at,
            "" if self.basic else subject.hint,
            self.kin,
        )
        return Result(self.name, "failed", time.perf_counter() - start, failure)


#: Every property, in the order in which they are checked.
PROPERTIES: list[Property] = []


def holds(
    *,
    usually: str,
    tolerance: str = "exact",
    about: About = "model",
    groups: Sequence[str] | None = None,
    in_combinations: bool = False,
    basic: bool = False,
    dear: bool = False,
    once: bool = False,
    kin: str = "",
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Decorator that puts a check on the list; its name is the property's, its docstring says what holds.

    Args:
        usually: what usually causes a violation.
        tolerance: how exactly the property holds.
        about: what is checked.
        groups: the groups concerned; None for all.
        in_combinations: whether combinations are checked too.
        basic: whether nothing further is asked of a subject where it does not hold.
        dear: whether a quick look leaves it out.
        once: whether it is checked in one topology only.
        kin: the properties that fail with it by one cause are reported with it.
    """

    def add(check: Callable[[Any], None]) -> Callable[[Any], None]:
        what = " ".join((check.__doc__ or "").split())
        limited = None if groups is None else tuple(groups)
        PROPERTIES.append(
            Property(
                check.__name__, what, tolerance, usually, about, limited, in_combinations, basic, dear, once, kin, check
            )
        )
        return check

    return add
