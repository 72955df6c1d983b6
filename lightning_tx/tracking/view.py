"""A study as the MLflow UI shows it at first sight: its runs, best first, with the columns that tell them apart."""

import hashlib
import json
from collections.abc import Sequence

from lightning_tx.core import names
from lightning_tx.tracking.store import Store

#: Pixels; MLflow's own width cuts off ``ablation.positions``.
COLUMN_WIDTH = 140


def share_view(store: Store, study: str, params: Sequence[str], metrics: Sequence[str], *, ascending: bool) -> str:
    """Keep a view of a study in the store; returns the fragment of the URL that opens it.

    Args:
        store: the store.
        study: the study's name.
        params: parameters to show as columns.
        metrics: metrics to show as columns; the first one orders the rows.
        ascending: whether its smallest value comes first.
    """
    key = hashlib.sha256(study.encode()).hexdigest()[:12]
    columns = [f"params.`{name}`" for name in params] + [f"metrics.`{name}`" for name in metrics]
    state = {
        "searchFilter": f"tags.`{names.STUDY}` = '{study}' and tags.`{names.KIND}` = '{names.RUN}'",
        "orderByKey": f"metrics.`{metrics[0]}`",
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, COLUMN_WIDTH),
    }
    store.set_experiment_tag(f"{names.SHARED_VIEW}{key}", json.dumps(state))
    return f"#/experiments/{store.experiment_id}/runs?viewStateShareKey={key}&workflowType=machine_learning"
