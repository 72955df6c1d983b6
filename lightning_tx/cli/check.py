"""``ltx check``: whether components keep what every component promises."""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_tx.cli.console import console
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.groups import GROUPS, group_named

if TYPE_CHECKING:
    from lightning_tx.testing.results import Failure, Result

Choices = dict[str, dict[str, Mapping[str, Any]]]


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
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes that check side by side (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a line a choice and every failure in full; 1 where something failed."""
    from lightning_tx.cli.plugins import asked, plugins_of

    with plugins_of(arguments.words) as files:
        return _check(asked(arguments.words), not arguments.no_combinations, arguments.jobs, files)


def _check(which: str, combine: bool, jobs: int, files: Sequence[str]) -> int:
    group, _, label = which.partition("/")
    found, missing = _all_choices(group)
    wanted = {group: {label: _one(found[group], group, label)}} if label else found
    start = time.perf_counter()
    tasks: list[tuple[str, str, Mapping[str, Any]]] = [
        (group, label, config) for group, labels in wanted.items() for label, config in labels.items()
    ]
    failed: list[Failure] = []
    out = console()
    width = max(len(f"{group}/{label}") for group, label, _ in tasks)
    for title, results, seconds in _results(tasks, found if combine and not which else {}, jobs, files):
        failed += [result.failure for result in results if result.failure is not None]
        out.print(_line(title, width, results, seconds), markup=False)
    missing = [] if label else missing
    for failure in failed:
        out.print(f"\n{failure}", markup=False, soft_wrap=True)
    for component in missing:
        out.print(f"\n{component} is registered, and no yaml chooses it.", markup=False)
    number = len(failed) + len(missing)
    text = f"{number} {'failure' if number == 1 else 'failures'}" if number else "everything holds"
    out.print(f"\n{text} ({time.perf_counter() - start:.0f} s)", markup=False)
    return 1 if number else 0


def _all_choices(group: str) -> tuple[Choices, list[str]]:
    """The content of every choice's file, by group and label, of all groups or one; and what no file chooses.

    The latter are among the choices too, with their defaults.
    """
    from lightning_tx.cli.compose import labels_in, values_of
    from lightning_tx.cli.session import hydra_session
    from lightning_tx.testing.suite import default_choices

    groups = [group] if group else list(GROUPS)
    group_named(groups[0])
    with hydra_session():
        found: Choices = {each: {label: values_of(each, label) for label in labels_in(each)} for each in groups}
    missing: list[str] = []
    defaults = default_choices(groups)
    for each in groups:
        named = {config["name"] for config in found[each].values()}
        own = [name for name in GROUPS[each].names() if name not in named]
        missing += [f"{each}/{name}" for name in own]
        found[each].update({name: defaults[each][name] for name in own if name in defaults[each]})
    return found, missing


def _one(known: Mapping[str, Mapping[str, Any]], group: str, label: str) -> Mapping[str, Any]:
    if label not in known:
        raise ConfigError(f"{group}: there is no choice {label!r}.{nearest(label, known)} Choices: {choices(known)}.")
    return known[label]


def _results(
    tasks: Sequence[tuple[str, str, Mapping[str, Any]]], combined: Choices, jobs: int, files: Sequence[str]
) -> Iterator[tuple[str, list["Result"], float]]:
    """What was found of each choice, and of all combinations together, in order."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    if jobs == 1:
        yield from map(_checked, tasks)
        if combined:
            yield _checked_combinations(combined, 0, 1)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin_worker, initargs=(files,)) as pool:
        shares = [pool.submit(_checked_combinations, combined, job, jobs) for job in range(jobs if combined else 0)]
        yield from pool.map(_checked, tasks)
        done = [share.result() for share in shares]
        if done:
            yield done[0][0], [result for _, results, _ in done for result in results], sum(each[2] for each in done)


def _begin_worker(files: Sequence[str]) -> None:
    import torch

    from lightning_tx.runs.plugin_files import load_files

    torch.set_num_threads(1)
    load_files(files)


def _checked(task: tuple[str, str, Mapping[str, Any]]) -> tuple[str, list["Result"], float]:
    from lightning_tx.testing.suite import check_choice

    group, label, config = task
    start = time.perf_counter()
    return f"{group}/{label}", check_choice(group, label, config), time.perf_counter() - start


def _checked_combinations(found: Choices, job: int, jobs: int) -> tuple[str, list["Result"], float]:
    """Every ``jobs``-th combination, from ``job`` on."""
    from lightning_tx.testing.suite import check_combination, combined_subjects

    start = time.perf_counter()
    results = [result for subject in combined_subjects(found)[job::jobs] for result in check_combination(subject)]
    return "combinations", results, time.perf_counter() - start


def _line(title: str, width: int, results: Sequence["Result"], seconds: float) -> str:
    counts = Counter(result.status for result in results)
    failed = f"{counts['failed']:4} failed" if counts["failed"] else " " * 11
    return f"{title:{width}} {counts['passed']:5} passed {failed} {counts['skipped']:5} skipped {seconds:6.1f} s"
