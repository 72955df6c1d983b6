"""The sweeper: hands the jobs that were checked, and no others, to whatever launcher is configured."""

from collections.abc import Sequence
from typing import Any, Protocol

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext
from omegaconf import DictConfig

#: Its name in ``conf/hydra/sweeper``.
NAME = "hydra_plugins.lightning_tx.Rows"


class Listed(Protocol):
    """A task that knows its jobs: what Hydra is given to run."""

    @property
    def launched(self) -> Sequence[Sequence[str]]:
        """The overrides of each job, by its number."""
        ...

    def __call__(self, config: DictConfig) -> Any:
        """Run the job whose number Hydra says."""
        ...

    def returned(self, number: int, value: Any) -> None:
        """Take what the job of a number returned, in whichever process it ran."""
        ...


class RowSweeper(Sweeper):
    """Launches the jobs that its task lists, in their order.

    The list has one owner: whoever made the task. What ``sweep`` is told is what that list was made from.

    Args:
        params: what is swept unless the command line says otherwise; it is part of the list.
        max_batch_size: jobs handed to the launcher at once; None for all.
    """

    def __init__(self, params: Any = None, max_batch_size: int | None = None) -> None:
        self.max_batch_size = max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: Any, config: DictConfig) -> None:
        """Take the task's list, and make the launcher."""
        self.task: Listed = task_function
        self.jobs = [list(overrides) for overrides in self.task.launched]
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Launch every job; raises the error of the first that failed."""
        size = self.max_batch_size or len(self.jobs)
        returned = []
        for first in range(0, len(self.jobs), size):
            results = self.launcher.launch(self.jobs[first : first + size], initial_job_idx=first)
            for number, result in enumerate(results, first):
                self.task.returned(number, result.return_value)  # raises what the job raised
            returned.append(results)
        return returned
