"""``ltx check``: whether components keep what every component promises."""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_tx.cli.console import console
from lightning_tx.core.errors import ConfigError, choices, nearest

if TYPE_CHECKING:
    from lightning_tx.testing.results import Failure, Result

Choices = dict[str, dict[str, Mapping[str, Any]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "which",
        nargs="?",
        help="a group, as positions, or a choice, as positions/rope; everything and its combinations if left out",
    )
    parser.add_argument("--no-combinations", action="store_true", help="check each choice alone")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes that check side by side (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a line a choice and every failure in full; 1 where something failed."""
    found = _all_choices()
    wanted = _wanted(found, arguments.which)
    start = time.perf_counter()
    tasks: list[tuple[str, str, Mapping[str, Any]]] = [
        (group, label, config) for group, labels in wanted.items() for label, config in labels.items()
    ]
    failed: list[Failure] = []
    out = console()
    width = max(len(f"{group}/{label}") for group, label, _ in tasks)
    for title, results, seconds in _results(tasks, found if _is_whole(arguments) else {}, arguments.jobs):
        failed += [result.failure for result in results if result.failure is not None]
        out.print(_line(title, width, results, seconds), markup=False)
    missing = _without_yaml(wanted) if arguments.which is None else []
    for failure in failed:
        out.print(f"\n{failure}", markup=False, soft_wrap=True)
    for component in missing:
        out.print(f"\n{component} is registered, and no yaml chooses it.", markup=False)
    text = f"{len(failed) + len(missing)} failures" if failed or missing else "everything holds"
    out.print(f"\n{text} ({time.perf_counter() - start:.0f} s)", markup=False)
    return 1 if failed or missing else 0


def _all_choices() -> Choices:
    """The content of every choice's file, by group and label; components without a file have their defaults."""
    from lightning_tx.cli.compose import hydra_session, labels_in, values_of
    from lightning_tx.core.registry import GROUPS
    from lightning_tx.testing.suite import default_choices

    with hydra_session():
        found: Choices = {group: {label: values_of(group, label) for label in labels_in(group)} for group in GROUPS}
    for group, components in default_choices().items():
        named = {config.get("name") for config in found[group].values()}
        found[group].update({name: config for name, config in components.items() if name not in named})
    return found


def _wanted(found: Choices, which: str | None) -> Choices:
    if which is None:
        return found
    group, _, label = which.partition("/")
    if group not in found:
        raise ConfigError(f"{group}: there is no such group.{nearest(group, found)} Groups: {choices(found)}.")
    if not label:
        return {group: found[group]}
    if label not in found[group]:
        known = found[group]
        raise ConfigError(f"{group}: there is no choice {label!r}.{nearest(label, known)} Choices: {choices(known)}.")
    return {group: {label: found[group][label]}}


def _is_whole(arguments: argparse.Namespace) -> bool:
    return arguments.which is None and not arguments.no_combinations


def _results(
    tasks: Sequence[tuple[str, str, Mapping[str, Any]]], combined: Choices, jobs: int
) -> Iterator[tuple[str, list["Result"], float]]:
    """What was found of each choice, and of all combinations together, in order."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    if jobs == 1:
        yield from map(_checked, tasks)
        if combined:
            yield _checked_combinations(combined, 0, 1)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        shares = [pool.submit(_checked_combinations, combined, job, jobs) for job in range(jobs if combined else 0)]
        yield from pool.map(_checked, tasks)
        done = [share.result() for share in shares]
        if done:
            yield done[0][0], [result for _, results, _ in done for result in results], sum(each[2] for each in done)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


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


def _without_yaml(found: Choices) -> list[str]:
    from lightning_tx.core import registry

    return [
        f"{group}/{name}"
        for group in registry.GROUPS
        for name in registry.names(group)
        if name not in {config.get("name") for config in found[group].values()}
    ]
