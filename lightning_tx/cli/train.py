"""``ltx train``: everything is checked, then Hydra runs the jobs, then the study is reported."""

import hashlib
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig
from rich.markup import escape

from lightning_tx.cli.compose import (
    CONFIG,
    HYDRA_VERSION,
    Job,
    Request,
    job_of,
    prepare,
    read_request,
)
from lightning_tx.cli.console import console
from lightning_tx.cli.plugins import plugins_of
from lightning_tx.cli.search_path import CONFIG_GROUPS
from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError, LtxError
from lightning_tx.core.package import conf_dir

if TYPE_CHECKING:
    from lightning_tx.runs.config import RunConfig
    from lightning_tx.tracking.study import Study

#: Overrides that say nothing about what is trained.
UNTOLD = ("study", "margin", "root", "plugins")
#: Hydra's own options that only show something.
INFORMATION = ("help", "hydra_help", "cfg", "info", "shell_completion")


def run(arguments: Sequence[str]) -> int:
    """Train what the command line asks for; returns the exit code.

    Raises:
        ConfigError: with every problem of every job; then nothing was trained and nothing recorded.
    """
    prepare()
    flags = get_args_parser().parse_intermixed_args(list(arguments))
    # Hydra's own parser wants its options in front of the overrides.
    arguments = [*(argument for argument in arguments if argument not in flags.overrides), *flags.overrides]
    if any(getattr(flags, name) for name in INFORMATION):
        _hydra(arguments, _refuse)
        return 0
    config_dirs = [flags.config_dir] if flags.config_dir else []
    request = read_request(flags.overrides, multirun=flags.multirun, config_dirs=config_dirs)
    _silence()
    from lightning_tx.runs.identity import identify

    configs = _checked(request)
    identities = [identify(config) for config in configs]
    if request.is_sweep:
        return _sweep(arguments, request, configs, identities)
    return _single(arguments, request, configs, identities)


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
            Row(identity, _title(job, request.swept), config.seed, config.read_only(job.labels))
            for job, config, identity in zip(request.jobs, configs, identities, strict=True)
        ]
    )
    return study


def _single(arguments: Sequence[str], request: Request, configs: "Sequence[RunConfig]", identities: list[str]) -> int:
    job = request.jobs[0]
    if job.config["study"]:
        _opened(job.config["study"], request, configs, identities, job.overrides)
    progress = Progress(1)
    _hydra(arguments, progress.run_job)
    return 1 if progress.failures else 0


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
            _hydra([*arguments, f"study={name}"], Progress(len(request.jobs), request.swept).run_job)
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


@dataclass
class Progress:
    """Runs the jobs that Hydra hands over, and says how far the sweep is.

    One failed job is recorded and does not end the others.

    Attributes:
        total: number of jobs.
        swept: the keys in which they differ.
        failures: jobs that failed in this process.
    """

    total: int
    swept: tuple[str, ...] = ()
    failures: int = 0
    seconds: list[float] = field(default_factory=list)

    def run_job(self, hydra_config: DictConfig) -> float:
        """Train one job; returns its primary metric, not a number if it failed."""
        from lightning_tx.cli.progress import ProgressBar
        from lightning_tx.runs.config import RunConfig
        from lightning_tx.runs.store import open_store
        from lightning_tx.runs.train import train
        from lightning_tx.tracking.errors import RunFinished
        from lightning_tx.tracking.study import Study

        _silence()
        job = job_of(hydra_config)
        out = console()
        number = _number() if self.total > 1 else 0
        title = _title(job, self.swept)
        line = f"[{number + 1}/{self.total}] {title}" if self.total > 1 else title
        # On a terminal the progress bar carries the title until the run has ended.
        alone = self.total == 1
        out.print("" if out.is_terminal else line, markup=False, end="\n" if alone and not out.is_terminal else "")
        began = time.monotonic()
        try:
            config = RunConfig.parse(job.config)
            store = open_store(config.raw)
            study = Study.get(store, job.config["study"]) if job.config["study"] else None
            name, bar = _name(job, self.swept), ProgressBar(out, line)
            told: dict[str, Any] = {"say": lambda text: out.print(f"  {text}", markup=False)} if alone else {}
            record = train(config, name=name, labels=job.labels, store=store, study=study, callbacks=[bar], **told)
        except RunFinished as finished:
            record, seconds = finished.record, None
        except Exception as error:
            self.failures += 1
            out.print(line if out.is_terminal else "", markup=False, end="")
            _print_failure(error, out)
            return float("nan")
        else:
            seconds = time.monotonic() - began
            self.seconds.append(seconds)
        metric = record.tags[names.METRIC]
        value = record.metrics[metric]
        took = "finished before" if seconds is None else f"{seconds:.0f} s"
        out.print(line if out.is_terminal else "", markup=False, end="")
        out.print(f"  {metric} {value:.4g}  ({took}{self._time_left(number)})")
        return value

    def _time_left(self, number: int) -> str:
        left = self.total - number - 1
        if not left or not self.seconds:
            return ""
        minutes = left * sum(self.seconds) / len(self.seconds) / 60
        return f", about {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"


def _number() -> int:
    from hydra.core.hydra_config import HydraConfig

    return int(HydraConfig.get().job.num)


def _title(job: Job, swept: Sequence[str] = ()) -> str:
    """What tells a job from the others of its sweep, or from the baseline, in one line."""
    values = {line.partition("=")[0].lstrip("+~"): line for line in job.overrides}
    shown = [values[key] for key in swept] if swept else [values[key] for key in values if key not in UNTOLD]
    return " ".join(shown) or "baseline"


def _name(job: Job, swept: Sequence[str]) -> str:
    """The title without the names of groups, whose choices speak for themselves: ``rope gqa seed=2``."""
    words = _title(job, swept).split(" ")
    return " ".join(word.partition("=")[2] if word.partition("=")[0] in CONFIG_GROUPS else word for word in words)


def _study_name(request: Request) -> str:
    """A name that the same command finds again."""
    stem = request.jobs[0].labels.get("experiment", "sweep")
    # Another folder makes no other sweep; nor does a margin, which would otherwise come too late and not be told.
    lines = sorted(
        {line for job in request.jobs for line in job.overrides if not line.startswith(("root=", "margin="))}
    )
    return f"{stem}-{hashlib.sha256(' '.join(lines).encode()).hexdigest()[:6]}"


def _mention_duplicates(request: Request, identities: list[str], out: Any) -> None:
    first: dict[str, Job] = {}
    for job, identity in zip(request.jobs, identities, strict=True):
        if identity in first:
            same = _title(first[identity], request.swept)
            out.print(f"{_title(job, request.swept)} is the same run as {same}; it is trained once.", markup=False)
        first.setdefault(identity, job)


def _print_failure(error: Exception, out: Any) -> None:
    reason = str(error) if isinstance(error, LtxError) else f"{type(error).__name__}: {error}"
    out.print(f"  [red]failed[/]: {escape(reason)}")
    if not isinstance(error, LtxError):
        frames = traceback.extract_tb(error.__traceback__)
        out.print(
            f"  at {frames[-1].filename}:{frames[-1].lineno}; the whole traceback is the run's {names.TRACEBACK_FILE}"
        )


def _hydra(arguments: Sequence[str], task: Any) -> None:
    sys.argv = ["ltx train", *arguments]
    with plugins_of(arguments, load=False):
        hydra.main(version_base=HYDRA_VERSION, config_path=str(conf_dir()), config_name=CONFIG)(task)()


def _refuse(config: DictConfig) -> None:
    raise AssertionError("Hydra was asked for information only.")


def _silence() -> None:
    """Keep what libraries say about themselves off the screen."""
    import logging
    import warnings

    for name in ("mlflow", "alembic", "lightning_fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(mlflow|pytorch_lightning|lightning_fabric|torch|hydra)(\.|$)")
