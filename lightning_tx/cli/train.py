"""``ltx train``: everything is checked, then Hydra runs the jobs, then the study is reported."""

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from lightning_tx.cli.compose import CONFIG, UnknownChoices, refuse, several_values
from lightning_tx.cli.console import console
from lightning_tx.cli.flags import Flags
from lightning_tx.cli.grammar import parse
from lightning_tx.cli.imports import bulk_imports, import_torchmetrics
from lightning_tx.cli.plugins import plugins_of
from lightning_tx.cli.request import Request, read_request
from lightning_tx.cli.session import HYDRA_VERSION, prepare
from lightning_tx.cli.translation import translated
from lightning_tx.cli.worker import Worker, silence, title_of, told_to_hydra
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.package import conf_dir

if TYPE_CHECKING:
    from lightning_tx.runs.config import RunConfig
    from lightning_tx.studies.sweep import Asked
    from lightning_tx.tracking.store import Store


#: Hydra keeps no copies of the config, which may hold secrets; a run's config is among its artifacts, without them.
UNWRITTEN = ("hydra.output_subdir=null",)


def run(arguments: Sequence[str]) -> int:
    """Train what the command line asks for; returns the exit code.

    Raises:
        ConfigError: with every problem of every job; then nothing was trained and nothing recorded.
    """
    prepare()
    flags = Flags.parse(arguments)
    if flags.only_shows and not flags.multirun:
        refuse(several_values(parse(flags.overrides)))
        _hydra(flags.arguments, _refuse)
        return 0
    request = _read(flags)
    if flags.only_shows:
        _show_first(flags, request)
        return 0
    silence()
    with bulk_imports():
        import_torchmetrics()
        from lightning_tx.studies.sweep import check_with_data

    configs = _checked(request)
    request = _settled(request, configs)
    asked = _asked(request, configs)
    check_with_data(asked)
    _print_notes(asked)
    return (_sweep if request.is_sweep else _single)(flags, request, asked)


def _show_first(flags: Flags, request: Request) -> None:
    """Have Hydra show what it is asked for of the first job of a sweep."""
    of_hydra = [override for override in flags.overrides if override.startswith("hydra")]
    first = request.jobs[0]
    print(f"Of {len(request.jobs)} jobs the first is shown: {title_of(first, request.swept)}", file=sys.stderr)
    _hydra([*of_hydra, *first.overrides, *flags.options], _refuse)


def _read(flags: Flags) -> Request:
    """The request; where choices do not exist, what is wrong besides them is said with them."""
    try:
        return read_request(flags.overrides, multirun=flags.multirun, config_dirs=flags.config_dirs)
    except UnknownChoices as error:
        raise ConfigError([*error.problems, *_problems_besides(error.groups, flags)]) from error


def _problems_besides(groups: Sequence[str], flags: Flags) -> list[str]:
    """What is wrong with a command line besides the choices of some groups, which are left at their defaults."""
    rest = [line for line in flags.overrides if line.lstrip("+~").partition("=")[0].partition(".")[0] not in groups]
    try:
        _checked(read_request(rest, multirun=flags.multirun, config_dirs=flags.config_dirs))
    except ConfigError as error:
        # Nobody asked for these defaults: what they do not go with is no problem.
        told = tuple(f"{group}{mark}" for group in groups for mark in (":", "."))
        return [
            problem
            for problem in error.problems
            if not problem.startswith(told) and not any(f"{group}=" in problem for group in groups)
        ]
    return []


def _print_notes(asked: "Sequence[Asked]") -> None:
    from lightning_tx.studies.sweep import notes_of

    for note in notes_of(asked):
        console().print(f"note: {note}", markup=False, soft_wrap=True)


def _checked(request: Request) -> "list[RunConfig]":
    """The config of each job, all checked.

    Raises:
        ConfigError: with every problem of every job, and what is varied although nothing reads it.
    """
    from lightning_tx.studies.sweep import parse_all

    problems = _margin_problems(request)
    configs: list[RunConfig] = []
    try:
        configs = parse_all([job.config for job in request.jobs], [job.title for job in request.jobs], request.swept)
    except ConfigError as error:
        problems = [*error.problems, *problems]
    if problems:
        raise ConfigError(problems)
    return configs


def _settled(request: Request, configs: "Sequence[RunConfig]") -> Request:
    """The request with what was settled by checking: the run to start from, and which labels mean anything."""
    jobs = [
        replace(job, config=dict(config.raw), labels=config.read_only(job.labels))
        for job, config in zip(request.jobs, configs, strict=True)
    ]
    return replace(request, jobs=tuple(jobs))


def _margin_problems(request: Request) -> list[str]:
    """A study has one margin, and a run without a study none."""
    margins = list(dict.fromkeys(str(job.config["margin"]) for job in request.jobs))
    if "margin" in request.swept or len(margins) > 1:
        return [f"margin: {', '.join(margins)}; a study has one margin, which cannot be swept."]
    config = request.jobs[0].config
    if config["margin"] is not None and not request.is_sweep and not config["study"]:
        return [f"margin: {config['margin']} is that of a study, and this run belongs to none; add study=NAME."]
    return []


def _asked(request: Request, configs: "Sequence[RunConfig]") -> "list[Asked]":
    from lightning_tx.studies.sweep import Asked

    return [
        Asked(config, title_of(job, request.swept), job.labels)
        for job, config in zip(request.jobs, configs, strict=True)
    ]


def _single(flags: Flags, request: Request, asked: "Sequence[Asked]") -> int:
    from lightning_tx.runs.store import open_store
    from lightning_tx.studies.sweep import open_study
    from lightning_tx.tracking.interrupts import Interrupts

    config = asked[0].config
    if config.study:
        open_study(config.study, asked, overrides=request.jobs[0].overrides, margin=config.margin)
    arguments = [*flags.options, *map(told_to_hydra, flags.overrides), *UNWRITTEN]
    with Interrupts():
        return 0 if _trained(arguments, request, [config], asked, open_store(config.raw)) else 1


def _sweep(flags: Flags, request: Request, asked: "Sequence[Asked]") -> int:
    from lightning_tx.cli.report import print_report
    from lightning_tx.runs.facts import settle_precision
    from lightning_tx.studies.sweep import open_study
    from lightning_tx.tracking.interrupts import Interrupted, Interrupts

    name = request.jobs[0].config["study"] or _study_name(request)
    configs = [each.config for each in asked]
    study = open_study(name, asked, overrides=flags.overrides, margin=configs[0].margin)
    out = console()
    out.print(f"Study [bold]{name}[/]: {len(request.jobs)} runs over {', '.join(request.swept)}.")
    out.print("Each run: its result on the validation split at the end of training, and what it took.", style="dim")
    settled = settle_precision(study, configs)
    if settled:
        out.print(f"precision {settled[0]}: {settled[1]}", markup=False, soft_wrap=True)
    _mention_duplicates(asked, out)
    try:
        with Interrupts():
            named = [config.in_study(name) for config in configs]
            arguments = [*flags.options, *_planned(flags.overrides)]
            _trained(arguments, _named(request, name, named), named, asked, study.store)
    except Interrupted:
        study.finish("KILLED")
        out.print("\nInterrupted. The same command goes on where it stopped.")
        raise
    finished = {run.identity for run in study.runs() if run.finished}
    missing = [each for each in asked if each.identity not in finished]
    study.finish("FAILED" if missing else "FINISHED")
    print_report(study, out)
    if missing:
        out.print(f"[red]{len(missing)} of {len(asked)} runs did not finish.[/] The same command tries them again.")
    return 1 if missing else 0


def _trained(
    arguments: Sequence[str],
    request: Request,
    configs: "Sequence[RunConfig]",
    asked: "Sequence[Asked]",
    store: "Store",
) -> bool:
    """Have Hydra run the jobs of a request; those that other processes train are waited for, and taken up where they
    are left. Returns whether none is known to have failed, in this process or in those."""
    from lightning_tx.runs.waiting import OtherOwners

    out = console()
    others = OtherOwners(store, configs[0].study, lambda text: out.print(text, markup=False, soft_wrap=True))
    left, failures = list(range(len(asked))), 0
    while left:
        jobs = tuple(request.jobs[number] for number in left)
        worker = Worker(replace(request, jobs=jobs), [configs[number] for number in left])
        _hydra(arguments, worker)
        failures += worker.failures
        for place in sorted(worker.busy):
            each = asked[left[place]]
            others.add(each.identity, each.title)
        free = others.wait()
        left = [next(number for number, each in enumerate(asked) if each.identity == identity) for identity in free]
    return not failures and not others.failures


def _planned(overrides: Sequence[str]) -> list[str]:
    """The overrides from which Hydra composes the plan of a sweep, of which no job is made.

    What is deleted may be part of a choice that varies, and is then not in the plan.
    """
    return [*(told_to_hydra(line) for line in overrides if not line.startswith("~")), *UNWRITTEN]


def _study_name(request: Request) -> str:
    """A name that the same command finds again."""
    stem = request.jobs[0].labels.get("experiment", "sweep")
    # Another folder makes no other sweep; nor does a margin, which would otherwise come too late and not be told.
    lines = sorted(
        {line for job in request.jobs for line in job.overrides if not line.startswith(("root=", "margin="))}
    )
    return f"{stem}-{hashlib.sha256(' '.join(lines).encode()).hexdigest()[:6]}"


def _named(request: Request, study: str, configs: "Sequence[RunConfig]") -> Request:
    """The request with the name of its study in every job, whose configs have it."""
    jobs = []
    for job, config in zip(request.jobs, configs, strict=True):
        overrides = job.overrides if job.config["study"] else (*job.overrides, f"study={study}")
        jobs.append(replace(job, overrides=overrides, config=dict(config.raw)))
    return replace(request, jobs=tuple(jobs))


def _mention_duplicates(asked: "Sequence[Asked]", out: Any) -> None:
    first: dict[str, str] = {}
    for each in asked:
        if each.identity in first:
            same = first[each.identity]
            out.print(f"{each.title} is the same run as {same}; it is trained once.", markup=False)
        first.setdefault(each.identity, each.title)


def _hydra(arguments: Sequence[str], task: Any) -> None:
    sys.argv = ["ltx train", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints errors itself and leaves
    with plugins_of(arguments, load=False), translated():
        hydra.main(version_base=HYDRA_VERSION, config_path=str(conf_dir()), config_name=CONFIG)(task)()


def _refuse(config: DictConfig) -> None:
    raise AssertionError("Hydra was asked for information only.")
