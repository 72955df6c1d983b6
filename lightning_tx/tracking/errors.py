"""What can go wrong with the record of a run. All of it is printed without a traceback."""

from typing import TYPE_CHECKING

from lightning_tx.core.errors import LtxError

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord


class TrackingError(LtxError):
    """The tracking store refuses what was asked: no such run, no such artifact, an invalid name."""


class StoreUnavailable(TrackingError):
    """The tracking store cannot be reached or does not answer now; the same call may work later."""


class UnsentMetrics(TrackingError):
    """Metrics could not be sent; they lie in a file of the run's folder and are sent when the run is resumed."""


class RunBusy(TrackingError):
    """The run is being trained by another process.

    Args:
        name: the run's name.
        run_id: MLflow's id.
        owner: who trains it, as ``process 12 on host``.
    """

    def __init__(self, name: str, run_id: str, owner: str) -> None:
        super().__init__(f"Run {name!r} ({run_id}) is still trained by {owner}.")
        self.owner = owner


class RunFinished(TrackingError):
    """A run of this identity has already finished in this study.

    Args:
        record: that run.
    """

    def __init__(self, record: "RunRecord") -> None:
        super().__init__(f"Run {record.name!r} ({record.run_id}) has finished: there is nothing left to train.")
        self.record = record
