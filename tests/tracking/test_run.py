import contextlib
import json
import logging
import math
import os
import signal
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from lightning_tx.tracking.code import CodeState
from lightning_tx.tracking.errors import RunBusy, RunFinished, StoreUnavailable, TrackingError, UnsentMetrics
from lightning_tx.tracking.interrupts import Interrupted
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study


def break_off(run, *metrics):
    """Let a run log one dict of metrics a step and then fail."""

    def train():
        with run:
            for step, values in enumerate(metrics):
                run.log_metrics(values, step)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        train()


def swallow(signum):
    """What a library may do to a signal."""
    with contextlib.suppress(SystemExit):
        os.kill(os.getpid(), signum)


def test_what_is_recorded(store, tracked):
    study = Study.open(store, "s")
    with tracked(study=study, tags={"continued_from": "x"}) as run:
        assert store.run(run.run_id).status == "RUNNING"
        assert run.folder == store.root / "runs" / run.run_id
        assert run.folder.is_dir()
        assert not run.resumed
        run.log_metrics({"train/loss": 2.0}, 5)
        run.log_params({"parameters": {"total": 100, "trainable": 60}})
        run.set_tags({"data.digest": "d"})
        run.log_text("notes.txt", "text")

    plain = store.client.get_run(run.run_id)
    assert plain.info.status == "FINISHED"
    assert plain.info.run_name == "run"
    ablation = {"ablation.positions": "rope", "ablation.attention": "gqa", "ablation.seed": "7"}
    assert plain.data.params == {
        "model.d_model": "32",
        "model.name": "decoder",
        "seed": "7",
        "parameters.total": "100",
        "parameters.trainable": "60",
        **ablation,
    }
    expected_tags = {
        "mlflow.parentRunId": study.run_id,
        "mlflow.runName": "run",
        "mlflow.source.name": "lightning_tx",
        "ltx.identity": "abc123",
        "ltx.study": "s",
        "continued_from": "x",
        "data.digest": "d",
        **ablation,
    }
    assert expected_tags.items() <= plain.data.tags.items()
    assert plain.data.metrics == {"train/loss": 2.0}
    assert store.artifacts(run.run_id) == ["config.json", "environment.json", "notes.txt"]
    assert store.config(run.run_id) == {"model": {"d_model": 32, "name": "decoder"}, "seed": 7}
    record = study.child("abc123")
    assert (record.choices, record.seed) == ({"positions": "rope", "attention": "gqa"}, 7)


def test_code_that_is_in_no_commit_has_none_recorded(tracked, store):
    with tracked() as run:
        pass
    assert not {"mlflow.source.git.commit", "git.dirty"} & set(store.run(run.run_id).tags)


@pytest.mark.parametrize("patch", ["", "diff --git a/x b/x\n"])
def test_the_commit_is_recorded_and_what_differs_from_it(tracked, store, monkeypatch, patch):
    monkeypatch.setattr("lightning_tx.tracking.run.code_state", lambda: CodeState("abc", patch))
    with tracked() as run:
        pass
    tags = store.run(run.run_id).tags
    assert tags["mlflow.source.git.commit"] == "abc" and tags["git.dirty"] == ("true" if patch else "false")
    assert ("code.patch" in store.artifacts(run.run_id)) == bool(patch)
    if patch:
        assert store.artifact_path(run.run_id, "code.patch").read_text() == patch


def test_a_patch_of_the_code_that_goes_on_lies_beside_that_of_the_first(tracked, store, monkeypatch):
    monkeypatch.setattr("lightning_tx.tracking.run.code_state", lambda: CodeState("abc", ""))
    break_off(tracked())
    monkeypatch.setattr("lightning_tx.tracking.run.code_state", lambda: CodeState("abc", "patch"))
    with tracked() as run:
        pass
    names = store.artifacts(run.run_id)
    assert "code.patch" not in names and sum(name.startswith("code-") for name in names) == 1


def test_an_exception_passes_and_fails_the_run(tracked, store):
    run = tracked()
    break_off(run, {"loss": 1.0})
    record = store.run(run.run_id)
    assert record.status == "FAILED"
    assert record.tags["ltx.reason"] == "ValueError: broken"
    assert record.metrics == {"loss": 1.0}
    assert "in train" in store.artifact_path(run.run_id, "traceback.txt").read_text()


@pytest.mark.parametrize("leave", [lambda: sys.exit(0), lambda: sys.exit("no")])
def test_leaving_early_is_no_end(tracked, store, leave):
    with pytest.raises(SystemExit), tracked() as run:
        leave()
    assert store.run(run.run_id).status == "FAILED"


def test_ctrl_c_as_an_exception_counts_as_a_signal(tracked, store):
    with pytest.raises(Interrupted) as caught, tracked() as run:
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert store.run(run.run_id).status == "KILLED"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_swallowed_signal_still_kills(tracked, store, signum, code):
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted) as caught, tracked() as run:
        swallow(signum)
    assert caught.value.code == code
    assert store.run(run.run_id).status == "KILLED"
    assert signal.getsignal(signum) is before


def test_a_signal_while_the_run_closes_lets_it_close_and_then_counts(tracked, store, monkeypatch):
    end_run = Store.end_run

    def interrupted(self, run_id, status):
        os.kill(os.getpid(), signal.SIGTERM)
        end_run(self, run_id, status)

    monkeypatch.setattr(Store, "end_run", interrupted)
    with pytest.raises(Interrupted), tracked() as run:
        pass
    assert store.run(run.run_id).status == "FINISHED"


def test_an_unfinished_run_is_taken_up_and_its_history_kept(tracked, store):
    first = tracked()
    break_off(first, *({"train/loss": 10.0 - step} for step in range(10)))
    before = store.history(first.run_id, "train/loss")

    with tracked() as second:
        assert (second.run_id, second.resumed, second.folder) == (first.run_id, True, first.folder)
        assert store.run(second.run_id).status == "RUNNING"
        assert store.run(second.run_id).end_time is None
        for step in range(5, 15):  # from the checkpoint at step 5 on; here the replay differs on purpose
            second.log_metrics({"train/loss": -1.0}, step)
    record = store.run(first.run_id)
    assert store.history(first.run_id, "train/loss") == [*before, *((step, -1.0) for step in range(10, 15))]
    assert (record.status, record.tags["ltx.resumed"]) == ("FINISHED", "1")
    assert "ltx.reason" not in record.tags
    assert len(store.runs()) == 1


def test_a_resumed_run_keeps_its_config_and_records_the_new_one_beside(tracked, store, caplog):
    with tracked() as run:
        run.log_params({"digest": "one"})
    store.end_run(run.run_id, "FAILED")
    changed = {"model": {"d_model": 32, "name": "decoder"}, "seed": 7, "path": "/elsewhere"}
    with tracked(config=changed) as run, caplog.at_level(logging.WARNING):
        run.log_params({"digest": "two"})
    assert store.config(run.run_id) == {"model": {"d_model": 32, "name": "decoder"}, "seed": 7}
    assert store.run(run.run_id).params["digest"] == "one"
    assert store.run(run.run_id).params["path"] == "/elsewhere"
    assert "digest was 'one' when the run began and is 'two' now" in caplog.text
    assert sum(name.startswith("config-") for name in store.artifacts(run.run_id)) == 1


def test_facts_are_parameters_and_those_that_change_are_told(tracked, store, caplog):
    facts = [
        {"code": "aaa", "threads": 2, "device": "cpu"},
        {"code": "bbb", "threads": 2, "device": "cpu"},
        {"code": "aaa", "threads": 1, "device": "cpu", "targets": 7},
    ]
    for number, each in enumerate(facts):
        with contextlib.suppress(ZeroDivisionError), tracked() as run, caplog.at_level(logging.WARNING):
            run.log_facts(each)
            _ = 1 / (number - 1)
        record = store.run(run.run_id)
        if number == 0:
            assert "ltx.facts_changed" not in record.tags and caplog.text == ""
        store.end_run(run.run_id, "FAILED")
    assert record.facts == {"code": "aaa", "threads": "2", "device": "cpu", "targets": "7"}
    assert json.loads(record.tags["ltx.facts_changed"]) == {"code": ["aaa", "bbb"], "threads": ["2", "1"]}
    assert "facts.threads was '2' when the run began and is '1' now" in caplog.text


def test_a_finished_run_is_not_trained_again(tracked, store):
    with tracked() as run:
        pass
    with pytest.raises(RunFinished) as caught, tracked():
        pass
    assert caught.value.record.run_id == run.run_id
    with tracked(study=Study.open(store, "s")) as other:  # another study is another run
        pass
    assert other.run_id != run.run_id


def test_a_run_that_is_being_trained_is_busy(tracked, store):
    with tracked() as run, FileLock(run.folder / "another"):
        with pytest.raises(RunBusy, match=rf"'run' \({run.run_id}\) is still trained by process {os.getpid()} on "):
            tracked().__enter__()
        assert store.run(run.run_id).status == "RUNNING"


def test_more_parameters_than_a_call_takes_and_longer_ones_than_a_parameter_holds(tracked, store, caplog):
    config = {f"key{number}": number for number in range(230)} | {"long": "x" * 7000}
    with tracked(config=config) as run:
        pass
    params = store.run(run.run_id).params
    assert len(params) == 231
    assert len(params["long"]) == 6000
    assert "'long' is cut" in caplog.text
    assert store.config(run.run_id) == config  # nothing is cut there


def test_three_thousand_points_arrive(tracked, store):
    with tracked() as run:
        for step in range(1000):
            run.log_metrics({"train/loss": 1.0 / (step + 1), "train/grad": float(step), "lr": 0.1}, step)
    for key, value in (("train/loss", lambda step: 1.0 / (step + 1)), ("train/grad", float), ("lr", lambda step: 0.1)):
        assert store.history(run.run_id, key) == [(step, value(step)) for step in range(1000)]


def test_nonfinite_values_are_recorded_and_the_first_one_tagged(tracked, store):
    run = tracked()
    break_off(run, {"train/loss": 1.0}, {"train/loss": math.inf}, {"train/loss": math.nan})
    with tracked() as again:
        again.log_metrics({"train/loss": math.nan}, 3)
    assert store.run(run.run_id).tags["nonfinite"] == "train/loss@1"


def test_metrics_that_cannot_be_sent_fail_the_run_and_are_sent_by_the_next(tracked, store, monkeypatch):
    log_points = Store.log_points

    def unavailable(self, run_id, points):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(Store, "log_points", unavailable)
    with pytest.raises(UnsentMetrics, match="1 metric values could not be sent"), tracked() as run:
        run.log_metrics({"loss": 1.0}, 0)
    assert store.run(run.run_id).status == "FAILED"
    assert store.run(run.run_id).tags["ltx.reason"].startswith("1 metric")
    monkeypatch.setattr(Store, "log_points", log_points)
    with tracked():
        pass
    assert store.history(run.run_id, "loss") == [(0, 1.0)]


def test_the_real_error_is_not_hidden_by_one_while_closing(tracked, monkeypatch, caplog):
    def unavailable(self, run_id, status):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(Store, "end_run", unavailable)
    with pytest.raises(ZeroDivisionError), tracked() as run:
        _ = 1 / 0
    assert f"The end of run {run.name} could not be recorded. gone" in caplog.text
    monkeypatch.undo()
    with tracked() as again:  # the lock was freed all the same
        assert again.run_id == run.run_id


def test_metrics_outside_the_block_are_refused(tracked):
    with pytest.raises(TrackingError, match="not open"):
        tracked().log_metrics({"loss": 1.0})


def test_files(tracked, store, tmp_path):
    Path(tmp_path / "a.bin").write_bytes(b"\x00\x01")
    with tracked() as run:
        run.log_file(tmp_path / "a.bin")
        run.log_file(tmp_path / "a.bin", "weights/b.bin")
    assert store.artifact_path(run.run_id, "a.bin").read_bytes() == b"\x00\x01"
    assert store.artifact_path(run.run_id, "weights/b.bin").read_bytes() == b"\x00\x01"
