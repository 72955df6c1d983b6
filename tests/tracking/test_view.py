import json

from lightning_tx.core import names
from lightning_tx.tracking.view import share_view


def test_a_view_is_kept_where_the_ui_looks_for_it(store) -> None:
    fragment = share_view(store, "mine", ["ablation.positions"], ["best/loss", "test/loss"], ascending=True)
    key = fragment.partition("viewStateShareKey=")[2].partition("&")[0]
    tags = store.client.get_experiment(store.experiment_id).tags
    state = json.loads(tags[f"{names.SHARED_VIEW}{key}"])
    assert state["selectedColumns"] == ["params.`ablation.positions`", "metrics.`best/loss`", "metrics.`test/loss`"]
    assert state["orderByKey"] == "metrics.`best/loss`" and state["orderByAsc"] is True


def test_the_filter_of_a_view_finds_the_studys_runs_alone(store, tracked) -> None:
    from lightning_tx.tracking.study import Study

    with tracked(study=Study.open(store, "mine")) as run:
        pass
    with tracked(identity="other"):
        pass
    fragment = share_view(store, "mine", [], ["best/loss"], ascending=True)
    key = fragment.partition("viewStateShareKey=")[2].partition("&")[0]
    state = json.loads(store.client.get_experiment(store.experiment_id).tags[f"{names.SHARED_VIEW}{key}"])
    found = store.client.search_runs([store.experiment_id], filter_string=state["searchFilter"])
    assert [each.info.run_id for each in found] == [run.run_id]
