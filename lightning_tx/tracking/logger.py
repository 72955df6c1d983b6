"""Lightning's logger for a tracked run. It takes metrics and nothing else: the run's owner records the rest."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lightning_tx.tracking.run import TrackedRun


class MetricLogger(Logger):
    """Hands Lightning's metrics to a run.

    The training code calls ``flush`` before it writes a checkpoint. Neither hyperparameters (``TrackedRun`` has
    recorded the config) nor the status that Lightning believes in (it calls an interrupted run a success) pass here.

    Args:
        run: the run, entered.
    """

    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self._run = run

    @property
    def name(self) -> str:
        """Empty: with ``save_dir`` and ``version`` this makes Lightning's own default paths end in the run's folder."""
        return ""

    @property
    def version(self) -> str:
        """MLflow's id of the run."""
        return self._run.run_id

    @property
    def save_dir(self) -> str:
        """The folder of all runs."""
        return str(self._run.folder.parent)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Take values for a step. The ``epoch`` that Lightning adds to every call is left out.

        Raises:
            TrackingError: a metric's name cannot be recorded, or its value is no number.
        """
        self._run.log_metrics({key: value for key, value in metrics.items() if key != "epoch"}, step or 0)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run has recorded its config."""

    @rank_zero_only
    def flush(self) -> None:
        """Wait until the store has every metric.

        Raises:
            UnsentMetrics: it could not take them.
        """
        self._run.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Called by Lightning after each fit, validate and test: make what was logged readable.

        After an exception nothing is done, for an error here would hide it; the run's owner sends the rest.
        """
        if status == "success":
            self._run.flush()
