"""Views of the MLflow UI on runs, kept in the store and opened by an address: a table of columns, and charts.

The keys of a view's state are those of the UI's own (MLflow 3.17: the experiment page's search facets and UI state).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_tx.core import names
from lightning_tx.tracking.store import Store

#: Pixels; MLflow's own width cuts off ``ablation.positions``.
COLUMN_WIDTH = 140
#: Runs whose curves are drawn at first, by the UI's own word.
_VISIBLE = "FIRST_20_RUNS"


@dataclass(frozen=True)
class View:
    """What the UI shows at first sight.

    Attributes:
        tags: those of the runs that are shown.
        params: parameters to show as columns.
        metrics: metrics to show as columns; the first one orders the rows.
        ascending: whether its smallest value comes first; None for the newest runs first.
        curves: metrics that are drawn over steps, the first ones of all charts.
        shown_tags: tags to show as columns, before all others.
    """

    tags: Mapping[str, str]
    params: Sequence[str]
    metrics: Sequence[str]
    ascending: bool | None
    curves: Sequence[str] = ()
    shown_tags: Sequence[str] = ()


def share(store: Store, name: str, view: View) -> str:
    """Keep a view in the store under a name, over an earlier one of it; returns its key."""
    key = hashlib.sha256(name.encode()).hexdigest()[:12]
    store.set_experiment_tag(f"{names.SHARED_VIEW}{key}", json.dumps(_state(view, key)))
    return key


def address(store: Store, key: str, *, charts: bool = False) -> str:
    """The fragment of the UI's address that opens a view: its table, or its charts."""
    mode = "&compareRunsMode=CHART" if charts else ""
    return f"#/experiments/{store.experiment_id}/runs?viewStateShareKey={key}&workflowType=machine_learning{mode}"


def _state(view: View, key: str) -> dict[str, Any]:
    columns = [
        *(f"tags.`{name}`" for name in view.shown_tags),
        *(f"params.`{name}`" for name in view.params),
        *(f"metrics.`{name}`" for name in view.metrics),
    ]
    state: dict[str, Any] = {
        "searchFilter": " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in view.tags.items()),
        "orderByKey": "attributes.start_time" if view.ascending is None else f"metrics.`{view.metrics[0]}`",
        "orderByAsc": bool(view.ascending),
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, COLUMN_WIDTH),
    }
    if view.curves:
        section = {"uuid": f"{key}-curves", "name": "curves", "display": True, "isReordered": True}
        charts = [_chart(metric, f"{key}-{number}", section["uuid"]) for number, metric in enumerate(view.curves)]
        state |= {"compareRunSections": [section], "compareRunCharts": charts}
        # Sections of other metrics are added after it, as the runs have them.
        state |= {"isAccordionReordered": True, "runsHiddenMode": _VISIBLE}
    return state


def _chart(metric: str, key: str, section: Any) -> dict[str, Any]:
    """A line over steps, as the UI would make it by hand."""
    return {
        "uuid": key,
        "type": "LINE",
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "displayName": metric,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "lineSmoothness": 0,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
