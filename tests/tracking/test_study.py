import subprocess
from datetime import datetime

import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.tracking.errors import TrackingError
from lightning_tx.tracking.study import Row, Study


def test_a_study_is_created_once_and_extended(store):
    first = Study.open(store, "positions", overrides=["positions=none,rope", "seed=1,2"], note="Does order matter?")
    first.finish()
    assert store.run(first.run_id).status == "FINISHED"

    again = Study.open(store, "positions", overrides=["positions=alibi", "seed=1,2"])
    Study.open(store, "positions", overrides=["positions=none,rope", "seed=1,2"])
    assert again.run_id == first.run_id
    assert len(store.studies()) == 1
    record = store.run(first.run_id)
    assert record.status == "RUNNING"
    assert record.tags["ltx.overrides"] == "positions=none,rope seed=1,2\npositions=alibi seed=1,2"
    assert record.tags["mlflow.note.content"] == "Does order matter?"
    assert record.name == "positions"


def test_the_overrides_tag_drops_the_oldest_sweeps_when_full(store):
    for letter in "abc":
        study = Study.open(store, "s", overrides=[letter * 3000])
    assert store.run(study.run_id).tags["ltx.overrides"] == "b" * 3000 + "\n" + "c" * 3000


def test_studies_are_listed_by_when_they_were_opened_last(store):
    for name in ("a", "b", "c", "a"):
        Study.open(store, name)
    assert [study.study for study in store.studies()] == ["a", "c", "b"]


def test_get_takes_only_what_exists_and_changes_nothing(store):
    study = Study.open(store, "positions")
    study.finish("FAILED")
    assert Study.get(store, "positions").run_id == study.run_id
    assert store.run(study.run_id).status == "FAILED"
    with pytest.raises(ConfigError, match=r"study: there is no study 'position'\. Did you mean 'positions'"):
        Study.get(store, "position")
    with pytest.raises(ConfigError, match="there is no study"):
        Study.get(store, "it's")


@pytest.mark.parametrize("name", ["", "  ", "it's", 'a"b', "a\nb", "a\\b", "x" * 251])
def test_names_that_cannot_be_searched_are_refused(store, name):
    with pytest.raises(ConfigError, match=r"study: .* cannot be a study's name"):
        Study.open(store, name)


@pytest.mark.parametrize("name", ["positions=none,rope attention=mha", "ü/π [1:2] {x} 100%", "a;b--c"])
def test_names_made_from_overrides_are_found_again(store, name):
    assert Study.open(store, name).run_id == Study.open(store, name).run_id == Study.get(store, name).run_id


def test_a_study_that_was_deleted_with_all_its_runs_is_not_taken_up(store, tracked):
    first = Study.open(store, "s")
    with tracked(study=first) as run:
        pass
    store.client.delete_run(first.run_id)
    store.client.delete_run(run.run_id)
    with pytest.raises(ConfigError, match=r"there is no study 's'\. Studies: none"):
        Study.get(store, "s")
    assert Study.open(store, "s").run_id != first.run_id and store.find("abc123", "s") is None


def test_a_parent_that_was_deleted_alone_is_restored_with_what_it_kept(store, tracked):
    first = Study.open(store, "s", margin=0.5)
    first.ask([Row("abc123", "run", 7, {})])
    with tracked(study=first) as run:
        pass
    store.client.delete_run(first.run_id)
    with pytest.raises(ConfigError, match=r"study: 's' was deleted in MLflow, but 1 of its runs were not") as caught:
        Study.get(store, "s")
    again = Study.open(store, "s")
    assert again.run_id == first.run_id and [row.identity for row in again.rows()] == ["abc123"]
    assert again.margin is not None and again.margin.text == "0.5"
    assert store.run(run.run_id).tags["mlflow.parentRunId"] == again.run_id
    # What the message offers does the same.
    store.client.delete_run(first.run_id)
    subprocess.run(str(caught.value).rpartition("so does: ")[2], shell=True, check=True, capture_output=True)
    assert Study.get(store, "s").run_id == first.run_id


def test_runs_whose_parent_is_gone_for_good_are_put_below_the_new_one(store, tracked):
    first = Study.open(store, "s")
    with tracked(study=first) as run:
        pass
    store.set_tags(run.run_id, {"mlflow.parentRunId": "0" * 32})  # as after mlflow gc
    store.client.delete_run(first.run_id)
    again = Study.open(store, "s")
    assert again.run_id != first.run_id
    assert store.run(run.run_id).tags["mlflow.parentRunId"] == again.run_id
    assert [each.run_id for each in again.runs()] == [run.run_id]


def test_a_run_that_was_deleted_is_trained_again_and_one_that_trains_says_so(store, tracked):
    study = Study.open(store, "s")
    with tracked(study=study) as first:
        pass
    store.client.delete_run(first.run_id)
    second = tracked(study=study)
    with pytest.raises(TrackingError, match="active"), second:
        delete_and_go_on(store, second)
    with tracked(study=study) as third:
        pass
    assert len({first.run_id, second.run_id, third.run_id}) == 3
    assert [run.run_id for run in study.runs()] == [third.run_id] and store.run(third.run_id).finished


def delete_and_go_on(store, run):
    store.client.delete_run(run.run_id)
    run.set_tags({"any": "tag"})


def test_a_study_is_ended_by_whoever_ends_last(store, tracked):
    study = Study.open(store, "s")
    with tracked(study=study):
        study.finish()
        assert store.run(study.run_id).status == "RUNNING"
    study.finish("FAILED")
    assert store.run(study.run_id).status == "FAILED"


def test_reports_of_earlier_times_are_kept(store, tmp_path):
    study = Study.open(store, "s")
    table = tmp_path / "effects.csv"
    for content in ("first", "second"):
        study.log_text("report.md", content)
        table.write_text(content)
        study.log_file(table, "tables/effects.csv")
    names = store.artifacts(study.run_id)
    assert store.artifact_path(study.run_id, "report.md").read_text() == "second"
    assert store.artifact_path(study.run_id, "tables/effects.csv").read_text() == "second"
    kept = [store.artifact_path(study.run_id, name).read_text() for name in names if name.startswith("report-")]
    assert kept == ["first", "second"]
    assert len(store.artifacts(study.run_id, "tables")) == 3


def test_children(store, tracked):
    study, other = Study.open(store, "s"), Study.open(store, "other")
    with tracked(study=study) as run:
        pass
    assert study.child("abc123").run_id == run.run_id
    assert [record.run_id for record in study.runs()] == [run.run_id]
    assert other.child("abc123") is None
    assert other.runs() == []
    assert study.child("else") is None


def finish_a_run(tracked, study):
    with tracked(study=study):
        pass


@pytest.mark.parametrize(("text", "value", "relative"), [("0.01", 0.01, False), (0.5, 0.5, False), ("1%", 0.01, True)])
def test_a_margin_is_stated_once(store, tracked, text, value, relative):
    study = Study.open(store, "s")
    other = Study.get(store, "s")
    assert study.margin is None
    study.state_margin(text)
    assert (other.margin.value, other.margin.relative) == (value, relative)
    finish_a_run(tracked, study)
    study.state_margin(text)
    Study.open(store, "s", margin=text)
    with pytest.raises(ConfigError, match=r"margin: 0\.02 is not the .* before results are known"):
        study.state_margin("0.02")
    assert study.margin.value == value


def test_the_same_margin_may_be_written_in_another_way(store):
    study = Study.open(store, "s", margin="0.010")
    study.state_margin(0.01)
    with pytest.raises(ConfigError, match="margin"):
        study.state_margin("0.01%")


def test_a_margin_after_results_is_refused_and_nothing_is_written(store, tracked):
    study = Study.open(store, "s", overrides=["seed=1"])
    finish_a_run(tracked, study)
    study.finish()
    before = store.run(study.run_id)
    for state in (study.state_margin, lambda margin: Study.open(store, "s", overrides=["seed=2"], margin=margin)):
        with pytest.raises(ConfigError, match=r"margin: 1% comes too late for study 's', 1 of whose runs"):
            state("1%")
    assert store.run(study.run_id) == before and study.margin is None


@pytest.mark.parametrize("margin", [0, -1, "nan", "inf", "1kg", "100%", "-1%", True, ""])
def test_what_is_no_margin_leaves_no_study(store, margin):
    with pytest.raises(ConfigError, match=r"margin: .*Choices: "):
        Study.open(store, "s", margin=margin)
    assert store.studies() == []


def test_a_run_that_failed_tells_no_results(store, tracked):
    study = Study.open(store, "s")
    with pytest.raises(ZeroDivisionError), tracked(study=study):
        _ = 1 / 0
    study.state_margin("1%")
    assert study.margin.relative


def row(identity, seed=1):
    return Row(identity, f"positions=rope seed={seed}", seed, {"positions": "rope"})


def test_what_is_asked_for_is_kept_in_order_and_once(store):
    study = Study.open(store, "s")
    assert study.rows() == []
    study.ask([row("b"), row("a"), row("b", seed=9)])
    assert study.rows() == [row("b"), row("a")]
    Study.get(store, "s").ask([row("a"), row("c")])
    assert study.rows() == [row("b"), row("a"), row("c")]
    assert store.artifacts(study.run_id) == ["rows.json"]


def test_a_study_keeps_its_first_precision(store):
    study, other = Study.open(store, "s"), Study.get(store, "s")
    assert study.keep_precision("32") == other.keep_precision("bf16-mixed") == study.keep_precision("x") == "32"


def test_a_look_counts_where_it_sees_more_seeds(store):
    study, other = Study.open(store, "s"), Study.get(store, "s")
    assert study.looks == []
    for number in (3, 3, 2, 5):
        study.add_look(number)
    other.add_look(4)
    assert [number for number, _ in other.looks] == [3, 5]
    assert all(datetime.fromisoformat(when).tzinfo is not None for _, when in study.looks)
