import json
import math
import threading
import time

import pytest

from lightning_tx.tracking.errors import StoreUnavailable, TrackingError, UnsentMetrics
from lightning_tx.tracking.sender import UNSENT_FILE, MetricSender
from lightning_tx.tracking.values import Point


class Receiver:
    """Stands for the store: remembers what arrived, and fails as it is told."""

    def __init__(self):
        self.points: list[Point] = []
        self.calls = 0
        self.failures: list[Exception] = []
        self.nonfinite: list[tuple[str, int]] = []

    def send(self, points):
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        self.points += points

    def note(self, key, step):
        self.nonfinite.append((key, step))


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def make(receiver, tmp_path):
    senders = []

    def build(**options):
        defaults = {"recorded": set(), "folder": tmp_path, "flush_seconds": 60.0, "patience_seconds": 0.0}
        senders.append(MetricSender(receiver.send, on_nonfinite=receiver.note, **{**defaults, **options}))
        return senders[-1]

    yield build
    receiver.failures.clear()
    for sender in senders:
        sender.close()


def test_three_thousand_points_arrive_in_few_calls_with_their_own_times(make, receiver):
    sender = make()
    began = int(time.time() * 1000)
    for step in range(1000):
        sender.add({"train/loss": step * 1.0, "lr": 0.1, "grad": 2}, step)
    ended = int(time.time() * 1000)
    time.sleep(0.01)
    sender.flush()
    assert sorted((point.key, point.step, point.value) for point in receiver.points) == sorted(
        (key, step, value)
        for step in range(1000)
        for key, value in (("train/loss", step * 1.0), ("lr", 0.1), ("grad", 2.0))
    )
    assert all(began <= point.timestamp <= ended for point in receiver.points)
    assert receiver.calls < 20


def test_adding_costs_microseconds(make):
    sender = make()
    sender.add({"warm": 1.0}, 0)
    values = {"train/loss": 1.0, "lr": 0.1, "grad": 2.0}
    costs = []
    for step in range(200):
        began = time.perf_counter()
        sender.add(values, step)
        costs.append(time.perf_counter() - began)
    assert sorted(costs)[100] < 50e-6  # about 4e-6 when measured


def test_what_waits_is_sent_after_a_while_without_a_flush(make, receiver):
    sender = make(flush_seconds=0.05)
    sender.add({"loss": 1.0}, 0)
    deadline = time.monotonic() + 10
    while not receiver.points and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [point.value for point in receiver.points] == [1.0]


def test_training_goes_on_while_the_store_hangs(make, receiver):
    gate, entered = threading.Event(), threading.Event()
    send = receiver.send

    def slow(points):
        entered.set()
        gate.wait(10)
        send(points)

    receiver.send = slow
    sender = make(flush_seconds=0.01, patience_seconds=10.0)
    sender.add({"loss": 0.0}, 0)
    assert entered.wait(10)
    began = time.perf_counter()
    for step in range(1, 100):
        sender.add({"loss": 0.0}, step)
    assert time.perf_counter() - began < 1
    gate.set()
    sender.flush()
    assert sorted(point.step for point in receiver.points) == list(range(100))


def test_a_passing_failure_is_repeated_until_it_works(make, receiver):
    sender = make(patience_seconds=10.0)
    receiver.failures = [StoreUnavailable("not now")]
    sender.add({"loss": 1.0}, 0)
    sender.flush()
    assert [point.value for point in receiver.points] == [1.0]


def test_a_failure_in_the_background_loses_nothing_and_is_said_once(make, receiver, caplog):
    sender = make(flush_seconds=0.01)
    receiver.failures = [StoreUnavailable("not now"), StoreUnavailable("not now")]
    sender.add({"loss": 1.0}, 0)
    deadline = time.monotonic() + 10
    while not receiver.points and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [point.value for point in receiver.points] == [1.0]
    assert [record.getMessage() for record in caplog.records] == [
        "1 metric values wait, the store will be asked again: not now"
    ]


@pytest.mark.parametrize("failure", [StoreUnavailable("gone"), TrackingError("refused")])
def test_a_lasting_failure_is_raised_and_the_metrics_kept_in_a_file(make, receiver, tmp_path, failure):
    sender = make(patience_seconds=0.0)
    receiver.failures = [failure] * 100
    sender.add({"loss": 1.0, "grad": math.nan}, 3)
    with pytest.raises(UnsentMetrics, match=rf"2 metric values could not be sent; they lie in .*{UNSENT_FILE}"):
        sender.flush()
    lines = [json.loads(line) for line in (tmp_path / UNSENT_FILE).read_text().splitlines()]
    assert [(line["key"], line["step"]) for line in lines] == [("loss", 3), ("grad", 3)]
    receiver.failures.clear()

    kept = make(recorded={("loss", 3)})
    kept.resend()
    assert [(point.key, point.step, point.timestamp) for point in receiver.points] == [
        ("grad", 3, lines[1]["timestamp"])
    ]
    assert not (tmp_path / UNSENT_FILE).exists()
    kept.add({"grad": 5.0}, 3)  # the replay
    kept.flush()
    assert len(receiver.points) == 1


def test_where_the_disk_is_full_as_well_both_are_told(make, receiver, tmp_path):
    sender = make(folder=tmp_path / "none")
    (tmp_path / "none").touch()  # a file, in which no other can lie
    receiver.failures = [StoreUnavailable("gone")] * 10
    sender.add({"loss": 1.0}, 0)
    with pytest.raises(UnsentMetrics, match=rf"nor kept in .*{UNSENT_FILE} \(.*\); the same run.* gone"):
        sender.flush()


def test_a_refusal_is_not_waited_for(make, receiver):
    sender = make(patience_seconds=60.0)
    receiver.failures = [TrackingError("no such run")] * 10
    sender.add({"loss": 1.0}, 0)
    began = time.monotonic()
    with pytest.raises(UnsentMetrics, match="no such run"):
        sender.flush()
    assert time.monotonic() - began < 10


def test_recorded_steps_are_skipped(make, receiver):
    sender = make(recorded={("loss", 0), ("loss", 1)})
    for step in range(4):
        sender.add({"loss": 1.0, "other": 2.0}, step)
    sender.flush()
    assert [point.step for point in receiver.points if point.key == "loss"] == [2, 3]
    assert [point.step for point in receiver.points if point.key == "other"] == [0, 1, 2, 3]


def test_the_first_nonfinite_value_is_told_once(make, receiver):
    sender = make()
    for step, value in enumerate([1.0, math.inf, math.nan]):
        sender.add({"loss": value}, step)
        sender.flush()
    assert receiver.nonfinite == [("loss", 1)]
    assert len(receiver.points) == 3


@pytest.mark.parametrize("metrics", [{"loss@1": 1.0}, {"loss": "high"}, {"loss": None}])
def test_what_cannot_be_recorded_is_refused_at_once(make, metrics):
    with pytest.raises(TrackingError, match=f"metric '{next(iter(metrics))}'"):
        make().add(metrics, 0)
