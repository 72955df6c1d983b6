"""What holds for a component of any group."""

from lightning_tx.core.description import docstrings, summary
from lightning_tx.core.schema import checked, options_of, schema
from lightning_tx.testing.component import Component
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import Violation


@holds(about="component", usually="a docstring that does not start with one sentence that ends in a full stop.")
def describes_itself(subject: Component) -> None:
    """Its docstring opens with a summary of one line, and explains each option."""
    cls = subject.component
    if not cls.__doc__:
        raise Violation("it has no docstring of its own.")
    if not summary(cls).strip().endswith("."):
        raise Violation(f"the first line of its docstring is {summary(cls)!r}.")
    text = "\n".join(docstrings(cls))  # options may be explained where they are used
    missing = [option.name for option in options_of(cls) if f"{option.name}:" not in text]
    if missing:
        raise Violation(f"its docstring does not explain {', '.join(missing)}.")


@holds(about="component", usually="a default outside of the bounds that the annotation states.")
def defaults_are_valid(subject: Component) -> None:
    """The defaults of its options pass the checks of their own annotations."""
    defaults = {option.name: option.default for option in options_of(subject.component) if not option.required}
    _, problems = checked(schema(subject.component), defaults, subject.group)
    problems = [problem for problem in problems if not problem.endswith("missing; it has no default.")]
    if problems:
        raise Violation(" ".join(problems))
