"""``ltx check``: whether components keep what every component promises."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_tx.cli.console import console
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.groups import GROUPS, group_named

if TYPE_CHECKING:
    from lightning_tx.testing.isolated import Outcome, Tell
    from lightning_tx.testing.results import Result

Choices = dict[str, dict[str, Mapping[str, Any]]]
Checked = tuple[str, list["Result"], float]

#: Models drawn for each choice where every pair of choices is checked besides.
FEW = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WHICH",
        help="a group, as positions, or a choice, as positions/rope; everything and its combinations if left out; "
        "plugins=[FILE.py] adds those of a file",
    )
    parser.add_argument("--no-combinations", action="store_true", help="check each choice alone")
    parser.add_argument("--quick", action="store_true", help="leave out what takes long: compilation, models drawn")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the models that are drawn (default: 0)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit's XML too")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="stop a check that takes longer (default: 120)"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes that check side by side (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a line a choice and every cause in full; 1 where something failed."""
    from lightning_tx.cli.plugins import asked, plugins_of

    with plugins_of(arguments.words, load=False) as files:
        return _check(asked(arguments.words), arguments, files)


def _check(which: str, arguments: argparse.Namespace, files: Sequence[str]) -> int:
    from lightning_tx.cli.plugin_imports import import_safely
    from lightning_tx.testing.draws import NUMBER
    from lightning_tx.testing.junit import write_junit
    from lightning_tx.testing.results import reports
    from lightning_tx.testing.suite import failures

    start, out = time.perf_counter(), console()
    _, problems, notes = import_safely(files, arguments.timeout)
    wanted, found, missing = _wanted(which, unusable=bool(problems))
    combined = found if not (which or arguments.no_combinations or arguments.quick) else {}
    width = max((len(title) for title in _titles(wanted)), default=0)
    checked: list[tuple[str, list[Result]]] = []
    drawn = FEW if combined else NUMBER
    for title, results, seconds in _results(wanted, combined, drawn, arguments):
        checked.append((title, results))
        out.print(_line(title, width, results, seconds), markup=False)
    everything = [result for _, results in checked for result in results]
    causes = reports(failures(everything))
    # A single choice may well be tried before it has a file, if it can.
    if which.partition("/")[2] and wanted:
        notes += missing
    else:
        problems += missing
    for text in [*causes, *problems]:
        out.print(f"\n{text}", markup=False, soft_wrap=True)
    unasked = _unasked(everything, which, arguments)
    out.print("\nnot asked:\n" + "\n".join(f"  {line}" for line in unasked), markup=False, soft_wrap=True)
    for note in notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    if arguments.junit is not None:
        write_junit(arguments.junit, checked)
    number = len(causes) + len(problems)
    text = f"{number} {'failure' if number == 1 else 'failures'}" if number else "everything holds"
    out.print(f"\n{text} ({time.perf_counter() - start:.0f} s)", markup=False)
    return 1 if number else 0


def _wanted(which: str, *, unusable: bool) -> tuple[Choices, Choices, list[str]]:
    """The choices to check, all choices of these groups, and a sentence for each component that no file chooses.

    Args:
        which: a group, or a choice, or nothing.
        unusable: whether a plugin file could not be imported, in which the choice may have been.
    """
    group, _, label = which.partition("/")
    found, missing = _all_choices(group)
    if not label:
        return found, found, missing
    own = [text for text in missing if text.startswith(f"{group}/{label} ")]
    if label not in found[group] and (unusable or own):
        return {}, found, own
    return {group: {label: _one(found[group], group, label)}}, found, own


def _all_choices(group: str) -> tuple[Choices, list[str]]:
    """The content of every choice's file, by group and label, of all groups or one; and what no file chooses.

    The latter are among the choices too, with their defaults, where every option has one.
    """
    from lightning_tx.cli.compose import labels_in, values_of
    from lightning_tx.cli.session import hydra_session
    from lightning_tx.core.schema import options_of
    from lightning_tx.testing.suite import default_choices

    groups = [group] if group else list(GROUPS)
    group_named(groups[0])
    with hydra_session():
        found: Choices = {each: {label: values_of(each, label) for label in labels_in(each)} for each in groups}
    missing: list[str] = []
    defaults = default_choices(groups)
    for each in groups:
        named = {config["name"] for config in found[each].values()}
        for name in GROUPS[each].names():
            if name in named:
                continue
            missing.append(f"{each}/{name} is registered, and no yaml chooses it: write conf/{each}/{name}.yaml.")
            if name in defaults.get(each, {}):
                found[each][name] = defaults[each][name]
                continue
            options = [option.name for option in options_of(GROUPS[each].get(name)) if option.required]
            missing[-1] += f" It cannot be checked without: {', '.join(options)} {_have(options)} no default."
    return found, missing


def _have(options: Sequence[str]) -> str:
    return "has" if len(options) == 1 else "have"


def _one(known: Mapping[str, Mapping[str, Any]], group: str, label: str) -> Mapping[str, Any]:
    if label not in known:
        raise ConfigError(f"{group}: there is no choice {label!r}.{nearest(label, known)} Choices: {choices(known)}.")
    return known[label]


def _titles(wanted: Choices) -> list[str]:
    return [f"{group}/{label}" for group, labels in wanted.items() for label in labels]


def _results(wanted: Choices, combined: Choices, drawn: int, arguments: argparse.Namespace) -> Iterator[Checked]:
    """What was found of each choice, and of all combinations together, in order."""
    from lightning_tx.testing.isolated import isolated

    titles = _titles(wanted)
    work: list[Callable[[Tell], None]] = [
        partial(_check_choice, group, label, config, arguments.quick, arguments.seed, drawn)
        for group, labels in wanted.items()
        for label, config in labels.items()
    ]
    shares = arguments.jobs if combined else 0
    work += [partial(_check_combinations, combined, job, shares) for job in range(shares)]
    last: list[Checked] = []
    for outcome in isolated(work, jobs=arguments.jobs, seconds=arguments.timeout):
        title = titles[outcome.number] if outcome.number < len(titles) else "combinations"
        checked = title, _told(title, outcome), outcome.seconds
        if title == "combinations":
            last.append(checked)
        else:
            yield checked
    if last:
        yield "combinations", [result for _, results, _ in last for result in results], sum(each[2] for each in last)


def _check_choice(
    group: str, label: str, config: Mapping[str, Any], quick: bool, seed: int, drawn: int, tell: "Tell"
) -> None:
    from lightning_tx.testing.suite import check_choice

    check_choice(group, label, config, quick=quick, seed=seed, drawn=drawn, tell=tell)


def _check_combinations(found: Choices, job: int, jobs: int, tell: "Tell") -> None:
    """Every ``jobs``-th combination, from ``job`` on."""
    from lightning_tx.testing.suite import check_combination, combined_subjects

    tell("the combinations")
    for subject in combined_subjects(found)[job::jobs]:
        check_combination(subject, tell=tell)


def _told(title: str, outcome: "Outcome") -> list["Result"]:
    """The results that came, and a failure where the process did not end by itself."""
    from lightning_tx.testing.results import Failure, Result

    results = [each for each in outcome.told if isinstance(each, Result)]
    if not outcome.problem:
        return results
    at = next((each for each in reversed(outcome.told) if isinstance(each, str)), "the first property")
    seen = f"it {outcome.problem} while {at} was checked; nothing further was asked of it."
    what = "A component neither ends the process that it runs in nor keeps it waiting."
    failure = Failure("ends_by_itself", what, title, title, seen, None)
    return [*results, Result("ends_by_itself", "failed", outcome.seconds, failure)]


def _unasked(results: Sequence["Result"], which: str, arguments: argparse.Namespace) -> list[str]:
    """What nothing was said about, and why: a line for each reason."""
    import torch

    by_reason: dict[str, Counter[str]] = {}
    for result in results:
        if result.status == "unasked":
            by_reason.setdefault(result.reason, Counter()).update([result.property])
    lines = []
    for reason, properties in by_reason.items():
        shown = ", ".join(list(properties)[:4])
        more = f" and {len(properties) - 4} more" if len(properties) > 4 else ""
        lines.append(f"{shown}{more}: {reason}.")
    if which or arguments.no_combinations or arguments.quick:
        lines.append("every pair of choices: ltx check alone, without a name, asks that.")
    else:
        lines.append("most of the models that are drawn for a choice: ltx check GROUP/NAME asks them all.")
    if not torch.cuda.is_available():
        lines.append("anything on a GPU: there is none here.")
    lines.append("whether the formula is the published one: a test against a reference says that.")
    return lines


def _line(title: str, width: int, results: Sequence["Result"], seconds: float) -> str:
    counts = Counter(result.status for result in results)
    failed = f"{counts['failed']:4} failed" if counts["failed"] else " " * 11
    return f"{title:{width}} {counts['passed']:5} passed {failed} {counts['skipped']:5} skipped {seconds:6.1f} s"
