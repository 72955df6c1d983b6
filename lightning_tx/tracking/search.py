"""Runs of an MLflow experiment by their tags, as plain records."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightning_tx.tracking.records import RunRecord, record_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PAGE = 500


def search(
    client: "MlflowClient", experiment_id: str, tags: Mapping[str, str], *, deleted: bool = False
) -> list[RunRecord]:
    """All runs with these tags, oldest first: those that were deleted in the UI, or those that were not."""
    from mlflow.entities import ViewType

    if not all(map(searchable, tags.values())):
        return []
    query = _query(tags)
    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    found: list[RunRecord] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], query, view, max_results=_PAGE, page_token=token)
        found += map(record_of, page)
        token = page.token
        if not token:
            return sorted(found, key=_age)


def latest(client: "MlflowClient", experiment_id: str, tags: Mapping[str, str], limit: int) -> list[RunRecord]:
    """The runs with these tags that started last, the newest first."""
    newest = ["attributes.start_time DESC"]
    return [*map(record_of, client.search_runs([experiment_id], _query(tags), max_results=limit, order_by=newest))]


def searchable(value: str) -> bool:
    """Whether MLflow's search can ask for a value: it has no way to quote a quotation mark."""
    return not any(mark in value for mark in "'\"`\\")


def _query(tags: Mapping[str, str]) -> str:
    return " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def _age(record: RunRecord) -> tuple[float, str]:
    return (record.start_time.timestamp() if record.start_time else 0.0, record.run_id)
