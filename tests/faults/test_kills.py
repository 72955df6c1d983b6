"""A sweep that is killed at its writes, one after the other, ends as one that nobody disturbed."""

from functools import partial
from pathlib import Path

import pytest

from lightning_tx.core import names
from lightning_tx.tracking.store import Store
from tests.faults import processes
from tests.faults.kill import arm, strikes
from tests.tiny import tiny_overrides

#: A learnt tokenizer and averaged weights, so that everything is written that a run can write; nothing by the clock.
SWEEP = (
    "tokenizer=bpe",
    "tokenizer.vocab_size=270",
    "trainer.val_every=4",
    "trainer.average=2",
    "tracking.flush_seconds=3600",
    "study=chain",
    "-m",
    "positions=none,rope",
)
#: What depends on the clock and the machine.
COSTS = (names.PEAK_BYTES, "time/train_seconds", "train/tokens_per_second")


def curves(store: Store) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Every value of every metric of every run, by the run's name; each run is there once."""
    runs = store.runs()
    assert len({run.name for run in runs}) == len(runs)
    return {run.name: {key: store.history(run.run_id, key) for key in run.metrics if key not in COSTS} for run in runs}


def chain(root: Path, text: Path, journal: Path, at: tuple[str, ...]) -> list[tuple[str, str, int]]:
    """Start a sweep again and again, killed each time, until it is not; returns where it was struck."""
    command = ["train", *tiny_overrides(root, text), *SWEEP]
    while True:
        before, output = len(strikes(journal)), journal.with_name("output")
        code = processes.ltx(command, output, partial(arm, root, journal, at))
        struck = strikes(journal)
        if len(struck) == before:
            assert code == 0, output.read_text()
            return struck
        assert code == 128 + struck[-1][2], (struck[-1], output.read_text())


def unbroken(root: Path, text: Path, output: Path) -> Store:
    assert processes.ltx(["train", *tiny_overrides(root, text), *SWEEP], output) == 0, output.read_text()
    return Store.get(root)


def check(root: Path, text: Path, tmp_path: Path, at: tuple[str, ...]) -> list[tuple[str, str, int]]:
    struck = chain(root, text, tmp_path / "journal", at)
    store, other = Store.get(root), unbroken(tmp_path / "unbroken", text, tmp_path / "output")
    assert [run.status for run in [*store.runs(), *store.studies()]] == ["FINISHED"] * 3
    assert curves(store) == curves(other)
    assert [store.config(run)["positions"] for run in store.runs()] == [
        other.config(run)["positions"] for run in other.runs()
    ]
    assert list(root.rglob("*.partial*")) == []
    return struck


@pytest.mark.slow
def test_killed_before_in_and_after_every_kind_of_write(tmp_path: Path, text: Path) -> None:
    struck = check(tmp_path / "multirun", text, tmp_path, at=("",))
    assert len(struck) >= 30 and len({signum for *_, signum in struck}) == 3
    moments = {label: {moment for kind, moment, _ in struck if kind == label} for label, *_ in struck}
    for what in ("corpus", "tokenizers", "last.ckpt", "best.safetensors", "model.safetensors", ".artifact"):
        assert any(what in label and seen == {"before", "in", "after"} for label, seen in moments.items()), what
    for label in ("runs tags", "params", "metrics latest_metrics"):
        assert {"before", "after"} <= moments[f"commit {label}"]
    assert any(seen == {"before", "in", "after"} for label, seen in moments.items() if "commit" in label)


def test_killed_around_a_checkpoint(root: Path, text: Path, tmp_path: Path) -> None:
    struck = check(root, text, tmp_path, at=("write runs/*/last.ckpt",))
    assert [(label.split()[0], moment) for label, moment, _ in struck] == [
        ("write", "before"),
        ("write", "in"),
        ("write", "after"),
    ]
