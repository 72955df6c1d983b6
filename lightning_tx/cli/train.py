"""``ltx train``: everything is checked, then Hydra runs the jobs, then the study is reported."""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from lightning_tx.cli.compose import CONFIG, HYDRA_VERSION, prepare
from lightning_tx.cli.console import console
from lightning_tx.cli.flags import Flags
from lightning_tx.cli.imports import bulk_imports, import_torchmetrics
from lightning_tx.cli.plugins import plugins_of
from lightning_tx.cli.request import Job, Request, read_request
from lightning_tx.cli.worker import Worker, silence, title_of
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.package import conf_dir

if TYPE_CHECKING:
    from lightning_tx.runs.config import RunConfig
    from lightning_tx.tracking.study import Study


def run(arguments: Sequence[str]) -> int:
    """Train what the command line asks for; returns the exit code.

    Raises:
        ConfigError: with every problem of every job; then nothing was trained and nothing recorded.
    """
    prepare()
    flags = Flags.parse(arguments)
    if flags.only_shows and not flags.multirun:
        _hydra(flags.arguments, _refuse)
        return 0
    request = read_request(flags.overrides, multirun=flags.multirun, config_dirs=flags.config_dirs)
    if flags.only_shows:
        of_hydra = [override for override in flags.overrides if override.startswith("hydra")]
        _hydra([*flags.options, *of_hydra, *request.jobs[0].overrides], _refuse)
        return 0
    silence()
    with bulk_imports():
        import_torchmetrics()
        from lightning_tx.runs.identity import identify

    configs = _checked(request)
    request = _settled(request, configs)
    identities = [identify(config) for config in configs]
    if request.is_sweep:
        return _sweep(flags.arguments, request, configs, identities)
    return _single(flags.arguments, request, configs, identities)


def _checked(request: Request) -> "list[RunConfig]":
    """The config of each job, all checked.

    Raises:
        ConfigError: with every problem of every job, and what is varied although nothing reads it.
    """
    from lightning_tx.runs.config import RunConfig, unread_problems

    configs: list[RunConfig] = []
    found: dict[str, list[Job]] = {}
    for job in request.jobs:
        try:
            configs.append(RunConfig.parse(job.config))
        except ConfigError as error:
            for problem in error.problems:
                found.setdefault(problem, []).append(job)
    problems = []
    for problem, jobs in found.items():
        everywhere = len(jobs) == len(request.jobs)
        others = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        problems.append(problem if everywhere else f"{problem} (in {jobs[0].title}{others})")
    problems += _margin_problems(request)
    if not found:
        problems += unread_problems(configs, request.swept)
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


def _opened(
    name: str, request: Request, configs: "Sequence[RunConfig]", identities: list[str], overrides: Sequence[str]
) -> "Study":
    """The study of a command line, with everything that is asked for in its plan.

    Raises:
        ConfigError: the name cannot be used, or the margin cannot be stated any more.
    """
    from lightning_tx.runs.store import open_store
    from lightning_tx.tracking.study import Row, Study

    config = request.jobs[0].config
    study = Study.open(open_store(config), name, overrides=overrides, margin=config["margin"])
    study.ask(
        [
            Row(identity, title_of(job, request.swept), config.seed, job.labels)
            for job, config, identity in zip(request.jobs, configs, identities, strict=True)
        ]
    )
    return study


def _single(arguments: Sequence[str], request: Request, configs: "Sequence[RunConfig]", identities: list[str]) -> int:
    job = request.jobs[0]
    if job.config["study"]:
        _opened(job.config["study"], request, configs, identities, job.overrides)
    worker = Worker(request, configs)
    _hydra(arguments, worker)
    return 1 if worker.failures else 0


def _sweep(arguments: Sequence[str], request: Request, configs: "Sequence[RunConfig]", identities: list[str]) -> int:
    from lightning_tx.cli.report import print_report
    from lightning_tx.runs.facts import settle_precision
    from lightning_tx.tracking.interrupts import Interrupted, Interrupts

    name = request.jobs[0].config["study"] or _study_name(request)
    study = _opened(name, request, configs, identities, [argument for argument in arguments if "=" in argument])
    out = console()
    out.print(f"Study [bold]{name}[/]: {len(request.jobs)} runs over {', '.join(request.swept)}.")
    settled = settle_precision(study, configs)
    if settled:
        out.print(f"precision {settled[0]}: {settled[1]}", markup=False, soft_wrap=True)
    _mention_duplicates(request, identities, out)
    try:
        with Interrupts():
            named = [replace(config, study=name, raw={**config.raw, "study": name}) for config in configs]
            _hydra(arguments, Worker(_named(request, name), named))
    except Interrupted:
        study.finish("KILLED")
        out.print("\nInterrupted. The same command goes on where it stopped.")
        raise
    finished = {run.identity for run in study.runs() if run.finished}
    missing = [job for job, identity in zip(request.jobs, identities, strict=True) if identity not in finished]
    study.finish("FAILED" if missing else "FINISHED")
    print_report(study, out)
    if missing:
        out.print(
            f"[red]{len(missing)} of {len(request.jobs)} runs did not finish.[/] The same command tries them again."
        )
    return 1 if missing else 0


def _study_name(request: Request) -> str:
    """A name that the same command finds again."""
    stem = request.jobs[0].labels.get("experiment", "sweep")
    # Another folder makes no other sweep; nor does a margin, which would otherwise come too late and not be told.
    lines = sorted(
        {line for job in request.jobs for line in job.overrides if not line.startswith(("root=", "margin="))}
    )
    return f"{stem}-{hashlib.sha256(' '.join(lines).encode()).hexdigest()[:6]}"


def _named(request: Request, study: str) -> Request:
    """The request with the name of its study in every job."""
    jobs = []
    for job in request.jobs:
        overrides = job.overrides if job.config["study"] else (*job.overrides, f"study={study}")
        jobs.append(replace(job, overrides=overrides, config={**job.config, "study": study}))
    return replace(request, jobs=tuple(jobs))


def _mention_duplicates(request: Request, identities: list[str], out: Any) -> None:
    first: dict[str, Job] = {}
    for job, identity in zip(request.jobs, identities, strict=True):
        if identity in first:
            same = title_of(first[identity], request.swept)
            out.print(f"{title_of(job, request.swept)} is the same run as {same}; it is trained once.", markup=False)
        first.setdefault(identity, job)


def _hydra(arguments: Sequence[str], task: Any) -> None:
    sys.argv = ["ltx train", *arguments]
    with plugins_of(arguments, load=False):
        hydra.main(version_base=HYDRA_VERSION, config_path=str(conf_dir()), config_name=CONFIG)(task)()


def _refuse(config: DictConfig) -> None:
    raise AssertionError("Hydra was asked for information only.")
