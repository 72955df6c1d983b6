"""What a property is, and the list of all."""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
        check: raises :class:`Violation` or :class:`NotApplicable`.
    """

    name: str
    what: str
    tolerance: str
    usual_cause: str
    about: About
    groups: tuple[str, ...] | None
    in_combinations: bool
    check: Callable[[Any], None]

    def run(self, subject: Any) -> Result:
        """Check the property on a subject; whatever the component raises is a failure of the property."""
        start = time.perf_counter()
        try:
            self.check(subject)
        except NotApplicable as reason:
            return Result(self.name, "skipped", time.perf_counter() - start, reason=str(reason))
        except Violation as violation:
            return self._failed(subject, str(violation), start)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            seen = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno}, {where.name})"
            return self._failed(subject, seen, start)
        return Result(self.name, "passed", time.perf_counter() - start)

    def concerns(self, group: str, about: About) -> bool:
        """Whether it is checked for components of a group."""
        return self.about == about and (self.groups is None or group in self.groups)

    def _failed(self, subject: Any, seen: str, start: float) -> Result:
        failure = Failure(self.name, self.what, subject.title, subject.place, seen, self.usual_cause)
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
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Decorator that puts a check on the list; its name is the property's, its docstring says what holds.

    Args:
        usually: what usually causes a violation.
        tolerance: how exactly the property holds.
        about: what is checked.
        groups: the groups concerned; None for all.
        in_combinations: whether combinations are checked too.
    """

    def add(check: Callable[[Any], None]) -> Callable[[Any], None]:
        what = " ".join((check.__doc__ or "").split())
        limited = None if groups is None else tuple(groups)
        PROPERTIES.append(Property(check.__name__, what, tolerance, usually, about, limited, in_combinations, check))
        return check

    return add
