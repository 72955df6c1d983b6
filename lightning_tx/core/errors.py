"""The errors a user can cause. Each message stands alone: it names the key, the value and the choices."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from lightning_tx.core.redaction import redact_message

#: So much of a word is compared with the words there are: longer ones are no slip of a finger.
_COMPARED_CHARACTERS = 60


class LtxError(Exception):
    """Base of every error that lightning_tx raises on purpose; the command line prints it without a traceback."""


class ConfigError(LtxError):
    """What was asked for cannot be run. Holds every problem that was found, not only the first, without secrets.

    Args:
        problems: one self-contained sentence per problem, each starting with the key it is about.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        told = [problems] if isinstance(problems, str) else problems
        self.problems = list(dict.fromkeys(map(redact_message, told)))
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        lines = "\n".join("  - " + problem.replace("\n", "\n    ") for problem in self.problems)
        return f"{len(self.problems)} problems:\n{lines}"


class PluginError(LtxError):
    """A plugin does not import, claims a taken name, or breaks the constructor rule."""


class DivergedError(LtxError):
    """What a model computes is no number any more."""


def naming(problems: Iterable[str], **chosen: str) -> list[str]:
    """The problems, each with the choices that met in it, where it does not name them.

    >>> naming(["model.head_dim: 3 is odd."], positions="rope")
    ['model.head_dim: 3 is odd (positions=rope).']
    """
    named = []
    for problem in problems:
        unsaid = [f"{group}={name}" for group, name in chosen.items() if f"{group}={name}" not in problem]
        if len(chosen) == 1 and problem.startswith(f"{next(iter(chosen))}."):
            unsaid = []  # its key says as much
        named.append(f"{problem.removesuffix('.')} ({', '.join(unsaid)})." if unsaid else problem)
    return named


def choices(options: Iterable[str]) -> str:
    """The options as they are listed in a message: sorted, separated by commas."""
    return ", ".join(sorted(options)) or "none"


def nearest(word: str, options: Iterable[str]) -> str:
    """A suggestion to append to a message about the unknown ``word``, or an empty string."""
    match = get_close_matches(word[:_COMPARED_CHARACTERS], list(options), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""
