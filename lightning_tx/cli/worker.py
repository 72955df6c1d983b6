"""What Hydra runs: the jobs that were checked, each trained when its number is called, here or in another process."""

import os
import time
import traceback
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.markup import escape

from lightning_tx.cli import secrecy, unexpected
from lightning_tx.cli.console import console
from lightning_tx.cli.grammar import forced
from lightning_tx.cli.imports import bulk_imports
from lightning_tx.cli.pace import Pace, duration
from lightning_tx.cli.request import Job, Request
from lightning_tx.cli.search_path import CONFIG_GROUPS
from lightning_tx.core import names
from lightning_tx.core.errors import LtxError

if TYPE_CHECKING:
    from lightning_tx.runs.config import RunConfig

#: Overrides that say nothing about what is trained.
UNTOLD = ("study", "margin", "root", "plugins")
#: In an estimate a job counts half as much after so many others.
JOBS_HALF_LIFE = 2.0
#: The longest of jobs that are alike takes at most so many times as long as the shortest.
ALIKE = 1.5


@dataclass
class Worker:
    """Trains the jobs of a request, and says how far it is. One failed job is recorded and does not end the others.

    Hydra composes a config for each job; what is trained is the config that was checked, in the folder of the command.

    Attributes:
        request: the jobs.
        configs: their configs as they were checked; they know classes, which another process has to find itself.
        folder: the folder of the command, against which relative paths resolve wherever Hydra runs the jobs.
        failures: jobs that failed in this process.
        seconds: what each job took that was trained in this process.
        busy: the numbers of the jobs that other processes train.
    """

    request: Request
    configs: "Sequence[RunConfig]" = ()
    folder: str = field(default_factory=os.getcwd)
    failures: int = 0
    seconds: list[float] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)

    @property
    def launched(self) -> list[tuple[str, ...]]:
        """The overrides of each job, by its number, as Hydra takes them."""
        return [tuple(map(told_to_hydra, job.overrides)) for job in self.request.jobs]

    def returned(self, number: int, value: float | None) -> None:
        """Take what a job returned, in whichever process it ran."""
        if value is None:
            self.busy.add(number)

    def __call__(self, hydra_config: DictConfig) -> float | None:
        """Train the job that Hydra has come to.

        Returns:
            Its primary metric, not a number if it failed; None where another process trains it.
        """
        with chdir(self.folder):
            return self._train()

    def _train(self) -> float | None:
        with bulk_imports():
            # Imported by the store and by train when they are first used, which is at once.
            import mlflow  # noqa: F401

            import lightning_tx.training.fit  # noqa: F401
            from lightning_tx.cli.progress import progress_on
            from lightning_tx.runs.train import train
        from lightning_tx.runs.store import open_store
        from lightning_tx.tracking.errors import RunBusy, RunFinished
        from lightning_tx.tracking.study import Study

        silence()
        number = int(HydraConfig.get().job.num) if self.request.is_sweep else 0
        job, total, swept = self.request.jobs[number], len(self.request.jobs), self.request.swept
        out = console()
        title = title_of(job, swept)
        alone = total == 1
        # A run among others is named in each of its lines, for several may be trained side by side.
        lead = "" if alone else f"[{number + 1}/{total}] {title}"
        if alone:
            out.print(title, markup=False, soft_wrap=True)
        began = time.monotonic()
        try:
            config = self._config(number)
            secrecy.keep_secret(config.raw)
            secrecy.guard_logs()
            store = open_store(config.raw)
            study = Study.get(store, config.study) if config.study else None
            name, bar = _run_name(job, swept), progress_on(out, lead)
            told: dict[str, Any] = {"say": lambda text: out.print(f"  {text}", markup=False)} if alone else {}
            record = train(config, name=name, labels=job.labels, store=store, study=study, callbacks=[bar], **told)
        except RunFinished as finished:
            record, seconds = finished.record, None
        except RunBusy as busy:
            out.print(f"{lead}  left to {busy.owner}", markup=False, soft_wrap=True)
            self.returned(number, None)
            return None
        except Exception as error:
            self.failures += 1
            out.print(lead, markup=False, soft_wrap=True, end="")
            _print_failure(error, out)
            return float("nan")
        else:
            seconds = time.monotonic() - began
            self.seconds.append(seconds)
        metric = record.tags[names.METRIC]
        value = record.metrics[metric]
        took = "finished before" if seconds is None else duration(seconds)
        result = f"{metric} {value:.4g}  ({took}{self.time_left(total - number - 1)})"
        out.print(f"{lead}  {result}", markup=False, soft_wrap=True)
        if alone:
            out.print(f"  run {record.run_id}", markup=False)
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "configs": ()}

    def _config(self, number: int) -> "RunConfig":
        from lightning_tx.runs.config import RunConfig

        return self.configs[number] if self.configs else RunConfig.parse(self.request.jobs[number].config)

    def time_left(self, left: int) -> str:
        """How long the jobs left will take, judged by those before, the latest most; rough where these differ."""
        if not left or not self.seconds:
            return ""
        pace = Pace(JOBS_HALF_LIFE)
        for seconds in self.seconds:
            pace.add(1, seconds)
        expected = pace.seconds_for(left) or 0.0
        alike = len(self.seconds) > 1 and max(self.seconds) <= ALIKE * min(self.seconds)
        return f", {'about' if alike else 'roughly'} {duration(expected)} left"


def title_of(job: Job, swept: Sequence[str] = ()) -> str:
    """What tells a job from the others of its sweep, or from the baseline, in one line."""
    values = {line.partition("=")[0].lstrip("+~"): line for line in job.overrides}
    shown = [values[key] for key in swept] if swept else [values[key] for key in values if key not in UNTOLD]
    return secrecy.shown_frames(" ".join(shown)) or "baseline"


def told_to_hydra(override: str) -> str:
    """An override as Hydra takes it whatever a config file leaves out, without secrets: it writes and prints them."""
    return forced(secrecy.without_value(override))


def _run_name(job: Job, swept: Sequence[str]) -> str:
    """The title without the names of groups, whose choices speak for themselves: ``rope gqa seed=2``."""
    words = title_of(job, swept).split(" ")
    return " ".join(word.partition("=")[2] if word.partition("=")[0] in CONFIG_GROUPS else word for word in words)


def _print_failure(error: Exception, out: Any) -> None:
    if isinstance(error, LtxError):
        out.print(f"  [red]failed[/]: {escape(secrecy.shown(str(error)))}")
        return
    out.print(f"  [red]failed[/]: {escape(secrecy.shown_frames(unexpected.told(error)))}", soft_wrap=True)
    for note in getattr(error, "__notes__", ()):
        out.print(f"  {note}", markup=False, soft_wrap=True)
    if unexpected.wants_frames():
        frames = "".join(traceback.format_exception(error))
        out.print(secrecy.shown_frames(frames), markup=False, soft_wrap=True)


def silence() -> None:
    """Keep what libraries say about themselves off the screen."""
    import logging
    import warnings

    for name in ("mlflow", "alembic", "lightning_fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(mlflow|pytorch_lightning|lightning_fabric|torch|hydra)(\.|$)")
