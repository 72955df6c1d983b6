"""Runs that another process trains; here, whoever holds the lock of a run's folder."""

import re
from functools import partial
from types import SimpleNamespace

import pytest

from lightning_tx.runs import waiting
from lightning_tx.runs.waiting import OtherOwners
from lightning_tx.tracking.locks import RunLock
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store


@pytest.fixture
def store(root) -> Store:
    return Store.open(root)


@pytest.fixture
def others(store):
    """Waits for runs outside of studies; and all that it says."""
    said: list[str] = []
    return OtherOwners(store, None, said.append), said


@pytest.fixture
def meanwhile(monkeypatch):
    """Does one thing after another while somebody waits; waiting on after the last one fails."""
    events: list = []
    monkeypatch.setattr(waiting, "time", SimpleNamespace(sleep=lambda _: events.pop(0)()))
    return events


def open_run(store: Store, identity: str) -> TrackedRun:
    return TrackedRun(store, name=identity, identity=identity, config={}, choices={}).__enter__()


def dies(run: TrackedRun) -> None:
    """What the kernel does for a process that ends without a word."""
    assert run._lock is not None
    run._lock.release()


def test_nothing_to_wait_for(others) -> None:
    assert others[0].wait() == [] and others[1] == []


def test_who_is_waited_for_is_said_once_and_what_came_of_it(store, others, meanwhile) -> None:
    runs = {name: open_run(store, name) for name in ("first", "second")}
    for name in runs:
        others[0].add(name, f"the {name} run")
    error = ValueError("no luck")
    meanwhile += [lambda: None, partial(runs["second"].__exit__, None, None, None), lambda: None]
    meanwhile += [partial(runs["first"].__exit__, ValueError, error, None)]
    assert others[0].wait() == [] and meanwhile == []
    told, *rest = others[1]
    assert re.fullmatch(r"Waiting for 2 runs, trained by process \d+ on \S+\. Ctrl-C ends the waiting.*", told)
    assert rest == [
        "the second run: finished, in the other process",
        "the first run: failed: ValueError: no luck, in the other process",
    ]
    assert others[0].failures == 1


def test_a_run_whose_owner_dies_or_is_stopped_is_free_at_once(store, others, meanwhile) -> None:
    dead, stopped, alive = (open_run(store, name) for name in ("dead", "stopped", "alive"))
    for name in ("dead", "stopped", "alive"):
        others[0].add(name, name)
    meanwhile += [partial(dies, dead), partial(stopped._close, KeyboardInterrupt())]
    assert others[0].wait() == ["dead"] and len(meanwhile) == 1
    with pytest.raises(SystemExit):  # the other process ends by it
        others[0].wait()
    assert others[0].wait() == ["stopped"]
    meanwhile += [partial(alive.__exit__, None, None, None)]
    assert others[0].wait() == []
    assert [text for text in others[1] if "finished" in text] == ["alive: finished, in the other process"]


def test_a_run_that_is_deleted_meanwhile_is_free(store, others, meanwhile) -> None:
    run = open_run(store, "deleted")
    others[0].add("deleted", "deleted")
    meanwhile += [lambda: (store.client.delete_run(run.run_id), dies(run))]
    assert others[0].wait() == ["deleted"]


def test_a_run_on_another_machine_is_waited_for_by_its_status(store, others, meanwhile, monkeypatch) -> None:
    """Where a server is shared and the run folder is not, no lock says who lives."""
    for module in ("lightning_tx.tracking.owners", "lightning_tx.runs.waiting"):
        monkeypatch.setattr(f"{module}.is_server", lambda uri: True)
    tags = {"ltx.kind": "run", "ltx.identity": "far", "ltx.host": "elsewhere"}
    run_id = store.create_run("far", tags)
    others[0].add("far", "far")
    meanwhile += [lambda: None, partial(store.end_run, run_id, "FINISHED")]
    assert others[0].wait() == []
    assert "a process on 'elsewhere', as far as is recorded" in others[1][0] and "delete it in MLflow" in others[1][0]
    assert others[1][1:] == ["far: finished, in the other process"]
    assert not store.folder(run_id).exists()


def test_looking_whether_a_run_is_trained_leaves_it_free(store, others) -> None:
    run = open_run(store, "left")
    dies(run)
    others[0].add("left", "left")
    assert others[0].wait() == ["left"]
    assert RunLock(run.folder).acquire() is None
