import json

from lightning_tx.core import names
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from lightning_tx.tracking.view import View, address, share

VIEW = View(
    tags={names.STUDY: "mine", names.KIND: names.RUN},
    params=["ablation.positions"],
    metrics=["best/loss", "test/loss"],
    ascending=True,
    curves=["val/loss", "train/loss"],
)


def state_of(store: Store, view: View, name: str = "mine") -> dict:
    """What the UI finds under the key that the address of a view names."""
    key = address(store, share(store, name, view)).partition("viewStateShareKey=")[2].partition("&")[0]
    tags = store.client.get_experiment(store.experiment_id).tags
    return json.loads(tags[f"{names.SHARED_VIEW}{key}"])


def test_a_view_is_kept_where_the_ui_looks_for_it(store) -> None:
    state = state_of(store, VIEW)
    assert state["selectedColumns"] == ["params.`ablation.positions`", "metrics.`best/loss`", "metrics.`test/loss`"]
    assert state["orderByKey"] == "metrics.`best/loss`" and state["orderByAsc"] is True


def test_the_filter_of_a_view_finds_the_studys_runs_alone(store, tracked) -> None:
    with tracked(study=Study.open(store, "mine")) as run:
        pass
    with tracked(identity="other"):
        pass
    found = store.client.search_runs([store.experiment_id], filter_string=state_of(store, VIEW)["searchFilter"])
    assert [each.info.run_id for each in found] == [run.run_id]


def test_charts_open_on_the_curves_of_a_view(store) -> None:
    state = state_of(store, VIEW)
    (section,) = state["compareRunSections"]
    charts = state["compareRunCharts"]
    assert [(chart["type"], chart["metricKey"], chart["xAxisKey"]) for chart in charts] == [
        ("LINE", "val/loss", "step"),
        ("LINE", "train/loss", "step"),
    ]
    assert {chart["metricSectionId"] for chart in charts} == {section["uuid"]}
    assert len({chart["uuid"] for chart in charts}) == 2 and section["display"] is True
    assert "compareRunsMode=CHART" in address(store, "abc", charts=True)


def test_views_of_different_names_stand_side_by_side(store) -> None:
    shown = ["ltx.study"]
    newest = View(tags={names.KIND: names.RUN}, params=[], metrics=["last/loss"], ascending=None, shown_tags=shown)
    assert state_of(store, VIEW)["orderByKey"] == "metrics.`best/loss`"
    state = state_of(store, newest, "all")
    assert state["orderByKey"] == "attributes.start_time" and state["orderByAsc"] is False
    assert state["selectedColumns"] == ["tags.`ltx.study`", "metrics.`last/loss`"] and "compareRunCharts" not in state
    assert len([key for key in store.client.get_experiment(store.experiment_id).tags if "sharedView" in key]) == 2
